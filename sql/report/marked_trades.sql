-- report/marked_trades: a symbol's trades by what the condition table lets them set.
-- grain: timestamp, sequence_number, id
-- params: $symbol varchar, $start date, $end date, $most integer, $slices integer
--
-- A trade may set what all of its conditions allow, by the rules valid in its session; an unknown
-- condition forbids nothing. All trades where there are at most $most; else of each kind and
-- stretch of time the lowest and the highest price, so that no extreme is lost: the sessions'
-- sixteen hours have $slices stretches in all. `of_trades` and `of_shares` count all of the kind.
-- $start and $end are sessions, both inclusive.
with
    tape as (
        select
            session,
            epoch_ns(timestamp) as trade_ns,
            sequence_number,
            id,
            price,
            size,
            coalesce(conditions, '') as conditions
        from trades_of($symbol, $start, $end)
    ),

    stretches as (
        select divide(count(distinct session) * 57600000000000, $slices) as slice_ns from tape
    ),

    codes as (
        select session, conditions, trim(unnest(string_split(conditions, ','))) as code
        from (select distinct session, conditions from tape)
    ),

    kinds as (
        select
            codes.session,
            codes.conditions,
            bool_and(coalesce(trade_conditions.updates_high_low, true)) as sets_high_low,
            bool_and(coalesce(trade_conditions.updates_open_close, true)) as sets_open_close,
            bool_and(coalesce(trade_conditions.updates_volume, true)) as sets_volume
        from codes
        left join
            trade_conditions
            on codes.code = trade_conditions.id::varchar
            and codes.session >= coalesce(trade_conditions.valid_from, '0001-01-01')
            and codes.session <= coalesce(trade_conditions.valid_to, '9999-12-31')
        group by codes.session, codes.conditions
    ),

    marked as (
        select
            tape.*,
            kinds.sets_high_low,
            kinds.sets_open_close,
            kinds.sets_volume,
            stretches.slice_ns,
            divide(tape.trade_ns, stretches.slice_ns) as slice,
            count(*) over () as of_all
        from tape
        inner join kinds on tape.session = kinds.session and tape.conditions = kinds.conditions
        cross join stretches
    ),

    ranked as (
        select
            *,
            count(*) over (partition by sets_high_low, sets_open_close, sets_volume) as of_trades,
            round(
                sum(size) over (partition by sets_high_low, sets_open_close, sets_volume), 6
            ) as of_shares,
            row_number() over (
                partition by slice, sets_high_low, sets_open_close, sets_volume
                order by price, trade_ns, sequence_number, id
            ) as from_below,
            row_number() over (
                partition by slice, sets_high_low, sets_open_close, sets_volume
                order by price desc, trade_ns, sequence_number, id
            ) as from_above
        from marked
    ),

    final as (
        select
            trade_ns,
            price,
            size,
            conditions,
            sets_high_low,
            sets_open_close,
            sets_volume,
            of_trades,
            of_shares,
            slice_ns
        from ranked
        where of_all <= $most or from_below = 1 or from_above = 1
        order by trade_ns, sequence_number, id
    )

select *
from final
