-- bars/counted: each trade with its bar of so many trades, shares or dollars.
-- grain: symbol, session, bar, ordinal
-- reads: measured
-- params: $by varchar, $threshold double, $excess varchar
--
-- A bar is full at $threshold trades, shares or dollars. What the trade that fills it has in excess
-- counts towards the next bar. With $excess `next` the trade itself stays whole in the bar in which
-- it begins, so that sizes even out in the long run; one of ten thresholds leaves nine bars out.
-- With `split` it stands in each bar that it reaches, with a part of its size, and is counted as a
-- trade in the first (`is_first_part`). Parts are whole millionths of a share that add up to the
-- trade: of volume bars each but the last is exact, of dollar bars to within the price of a
-- millionth. A trade that does not count in the volume is in the bar that is open when it comes.
-- The last bar of each part of a session is short where it is not full. A bar is from its first
-- trade to its last, at which it is known.
with
    running as (
        select
            *,
            (size::decimal(19, 6) * 1_000_000)::hugeint as millionths,
            ($threshold * case when $by = 'tick' then 1 else 1_000_000 end)::bigint as full_measure,
            sum(measure) over (
                partition by symbol, session, part
                order by ordinal
                rows between unbounded preceding and current row
            ) as until,
            sum(measure) over (partition by symbol, session, part) as total
        from measured
    ),
    placed as (
        select *, until - measure as since, divide(until - measure, full_measure) as first_bar
        from running
    ),
    reached as (
        select
            *,
            case
                when $excess <> 'split'
                then first_bar
                when divide(measure, full_measure) > 1_000_000
                then error('a trade fills more than a million bars: ask for larger ones')
                else greatest(divide(until - 1, full_measure), first_bar)
            end as last_bar
        from placed
    ),
    parted as (
        select *, unnest(range(first_bar::bigint, last_bar::bigint + 1)) as place from reached
    )
select
    symbol,
    session,
    -- In the order of time, and none twice in a session.
    place * 4 + part as bar,
    trade_ns as begin_ns,
    trade_ns as end_ns,
    (place + 1) * full_measure > total as is_short,
    place = first_bar as is_first_part,
    ordinal,
    price,
    case
        when first_bar = last_bar
        then size
        else
            (
                divide(millionths * (least((place + 1) * full_measure, until) - since), measure)
                - divide(millionths * (greatest(place * full_measure, since) - since), measure)
            )::double
            / 1_000_000
    end as size,
    high_low_barred_by,
    open_close_barred_by,
    volume_barred_by
from parted
