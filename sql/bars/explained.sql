-- bars/explained: each trade of one window: what it may do to the bar, what forbids it, what it
-- set.
-- grain: ordinal
-- reads: eligible, windowed, bars, trade_conditions
-- params: $at_ns bigint
--
-- The window is the one that holds the instant $at_ns. `sets` names what this very trade made of
-- the
-- bar: open, high, low, close; of several trades at the extreme price the first. A condition that
-- forbids is told by its id and name. Where no bar is, nothing is set.
with
    inside as (
        select symbol, session, bar, begin_ns, end_ns, ordinal
        from windowed
        where begin_ns <= $at_ns and $at_ns < end_ns
    ),
    prints as (
        select
            inside.bar,
            inside.begin_ns,
            inside.end_ns,
            eligible.*,
            bars.is_bar,
            bars.high,
            bars.low,
            min(eligible.ordinal) filter (where eligible.open_close_barred_by is null) over (
            ) as open_at,
            max(eligible.ordinal) filter (where eligible.open_close_barred_by is null) over (
            ) as close_at,
            min(eligible.ordinal) filter (
                where eligible.high_low_barred_by is null and eligible.price = bars.high
            ) over () as high_at,
            min(eligible.ordinal) filter (
                where eligible.high_low_barred_by is null and eligible.price = bars.low
            ) over () as low_at
        from inside
        inner join
            eligible
            on eligible.symbol = inside.symbol
            and eligible.session = inside.session
            and eligible.ordinal = inside.ordinal
        inner join
            bars
            on bars.symbol = inside.symbol
            and bars.session = inside.session
            and epoch_ns(bars.timestamp) = inside.begin_ns
    ),
    named as (
        select id, id || ' ' || any_value(name order by name) as name
        from trade_conditions
        group by id
    )
select
    prints.timestamp,
    prints.price,
    prints.size,
    prints.exchange,
    prints.conditions,
    prints.high_low_barred_by is null as sets_high_low,
    prints.open_close_barred_by is null as sets_open_close,
    prints.volume_barred_by is null as counts,
    range_rule.name as high_low_barred_by,
    ends_rule.name as open_close_barred_by,
    volume_rule.name as volume_barred_by,
    nullif(
        concat_ws(
            ',',
            case when prints.is_bar and prints.ordinal = prints.open_at then 'open' end,
            case when prints.is_bar and prints.ordinal = prints.high_at then 'high' end,
            case when prints.is_bar and prints.ordinal = prints.low_at then 'low' end,
            case when prints.is_bar and prints.ordinal = prints.close_at then 'close' end
        ),
        ''
    ) as sets,
    prints.sequence_number,
    prints.id,
    prints.is_extended,
    prints.ordinal
from prints
left join named as range_rule on range_rule.id = prints.high_low_barred_by
left join named as ends_rule on ends_rule.id = prints.open_close_barred_by
left join named as volume_rule on volume_rule.id = prints.volume_barred_by
order by prints.ordinal
