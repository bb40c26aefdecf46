-- bars/signatures: what trades alike in all that a rule may ask for did in a window.
-- grain: symbol, session, bar, traits, range_by, ends_by, volume_by
-- reads: prints, sessions, trade_conditions
-- params: $every_ns bigint
--
-- Enough to say what any rule about such traits would make of the window, without its trades.
-- $every_ns is a minute's length, or 0: windows are days. `traits` are the conditions carried
-- and what else a rule may go by; `range_by`, `ends_by`, `volume_by` are those that forbid to
-- set high and low, to set open and close, to count. Prices and shares are in millionths.
--
-- A trade that another vendor may have put elsewhere or counted otherwise is there twice, the
-- second time forbidden by the trait that tells so: `minute_joined` (the minute of the
-- participant's clock; the other has `minute_left`), `closing_joined` (the closing print in the
-- last minute before the close; `closing_left`) and `size_joined` (whole shares, at least one, as
-- written before 2026-02-23; `size_left`).
with
    listed as (select distinct session, conditions from prints where conditions is not null),
    carried as (
        select session, conditions, trim(unnest(string_split(conditions, ','))) as condition
        from listed
    ),
    ruled as (
        select
            carried.session,
            carried.conditions,
            carried.condition,
            coalesce(rule.updates_high_low and rule.id <> 12, true) as sets_range,
            coalesce(rule.updates_open_close and rule.id <> 12, true) as sets_ends,
            coalesce(rule.updates_volume, true) as counts
        from carried
        left join
            trade_conditions as rule
            on rule.id::varchar = carried.condition
            and carried.session >= coalesce(rule.valid_from, '0001-01-01')
            and carried.session <= coalesce(rule.valid_to, '9999-12-31')
    ),
    barring as (
        select
            session,
            conditions,
            list(distinct condition order by condition) as codes,
            coalesce(
                list(distinct condition order by condition) filter (where not sets_range), []
            ) as range_by,
            coalesce(
                list(distinct condition order by condition) filter (where not sets_ends), []
            ) as ends_by,
            coalesce(
                list(distinct condition order by condition) filter (where not counts), []
            ) as volume_by
        from ruled
        group by session, conditions
    ),
    placed as (
        select
            prints.* exclude (timestamp, participant_timestamp, exchange, price, size),
            sessions.open_ns,
            sessions.close_ns,
            sessions.midnight_ns,
            epoch_ns(prints.timestamp) as trade_ns,
            epoch_ns(prints.participant_timestamp) as participant_ns,
            round(prints.price * 1e6)::bigint as price,
            round(prints.size * 1e6)::bigint as shares,
            coalesce(prints.exchange = 4, false) as is_off_exchange
        from prints
        inner join sessions on sessions.session = prints.session
    ),
    told as (
        select
            *,
            trade_ns >= close_ns
            and regexp_matches(coalesce(conditions, ''), '(^|,) *(8|19) *(,|$)') as is_closing,
            coalesce(trade_ns - participant_ns > 10_000_000_000, false) as is_late,
            case
                when $every_ns = 0 then midnight_ns else trade_ns - trade_ns % $every_ns
            end as own_bar,
            case
                when $every_ns = 0
                then midnight_ns
                else
                    coalesce(participant_ns, trade_ns)
                    - coalesce(participant_ns, trade_ns) % $every_ns
            end as participant_bar,
            case
                when trade_ns < open_ns
                then 'before_open'
                when trade_ns < close_ns
                then null
                else 'after_close'
            end as part,
            case
                when shares > 0 and shares < 1_000_000
                then 'below_one'
                when shares % 1_000_000 <> 0
                then 'fraction'
                when shares = 1_000_000 and session < '2026-02-23'
                then 'one_share'
            end as size_class
        from placed
    ),
    moved as (
        select *, own_bar as bar, null::varchar as second, shares as counted
        from told
        union all
        select *, participant_bar as bar, 'minute_joined' as second, shares as counted
        from told
        where participant_bar <> own_bar
        union all
        select *, close_ns - $every_ns as bar, 'closing_joined' as second, shares as counted
        from told
        where is_closing and $every_ns > 0
        union all
        select
            *,
            own_bar as bar,
            'size_joined' as second,
            greatest(shares - shares % 1_000_000, 1_000_000) as counted
        from told
        where size_class in ('below_one', 'fraction')
    ),
    gathered as (
        select
            symbol,
            session,
            bar,
            case
                when $every_ns = 0
                then 'all'
                when bar >= any_value(open_ns) and bar < any_value(close_ns)
                then 'regular'
                else 'extended'
            end as hours,
            conditions,
            left_out,
            is_corrected,
            is_off_exchange,
            is_late,
            is_closing,
            participant_bar <> own_bar as is_elsewhere,
            case when $every_ns = 0 then part end as part,
            size_class,
            second,
            arg_min(price, ordinal) as first_price,
            min(ordinal) as first_ordinal,
            arg_max(price, ordinal) as last_price,
            max(ordinal) as last_ordinal,
            max(price) as high_price,
            min(price) as low_price,
            sum(counted)::bigint as shares,
            count(*) as trades
        from moved
        group by
            symbol,
            session,
            bar,
            conditions,
            left_out,
            is_corrected,
            is_off_exchange,
            is_late,
            is_closing,
            is_elsewhere,
            case when $every_ns = 0 then part end,
            size_class,
            second
    ),
    described as (
        select
            gathered.*,
            list_filter(
                [
                    left_out,
                    case when is_corrected then 'corrected_left' end,
                    case when is_off_exchange then 'off_exchange' end,
                    case when is_late then 'late' end,
                    case when is_late and is_off_exchange then 'late_off_exchange' end,
                    case when is_elsewhere and second is null then 'minute_left' end,
                    case
                        when is_closing and $every_ns > 0 and second is null then 'closing_left'
                    end,
                    case
                        when part = 'after_close' and is_closing then 'closing_after' else part
                    end,
                    case when second is distinct from 'size_joined' then size_class end,
                    case
                        when
                            size_class in ('below_one', 'fraction')
                            and second is distinct from 'size_joined'
                        then 'size_left'
                    end,
                    second
                ],
                lambda trait:trait is not null
            ) as others,
            list_filter([left_out, second], lambda trait:trait is not null) as barred_by,
            coalesce(barring.codes, []) as codes,
            list_filter(
                coalesce(barring.range_by, []), lambda code:hours <> 'extended' or code <> '12'
            ) as range_codes,
            list_filter(
                coalesce(barring.ends_by, []), lambda code:hours <> 'extended' or code <> '12'
            ) as ends_codes,
            coalesce(barring.volume_by, []) as volume_codes
        from gathered
        left join
            barring
            on barring.session = gathered.session
            and barring.conditions = gathered.conditions
    )
select
    symbol,
    session,
    bar,
    hours,
    codes || others as traits,
    range_codes || barred_by as range_by,
    ends_codes || barred_by as ends_by,
    volume_codes || barred_by as volume_by,
    first_price,
    first_ordinal,
    last_price,
    last_ordinal,
    high_price,
    low_price,
    shares,
    trades
from described
order by symbol, session, bar, traits, range_by, ends_by, volume_by
