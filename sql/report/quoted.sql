-- report/quoted: a symbol's quoted spread and depth over the regular hours of the day.
-- grain: slice
-- params: $symbol varchar, $start date, $end date, $sessions date[], $opens bigint[], $closes
-- bigint[], $minutes integer
--
-- Slices of $minutes from the open on, sessions taken together. Each quote counts for as long as it
-- stood within a slice; of quotes with a side missing, or crossed, only `seconds_out` tells. Sizes
-- are as the vendor's files have them. $start and $end are sessions, both inclusive; $sessions,
-- $opens and $closes name the trading days in between and their regular hours [open, close).
with
    hours as (
        select
            unnest($sessions::date[]) as session,
            unnest($opens::bigint[]) as open_ns,
            unnest($closes::bigint[]) as close_ns
    ),

    quoted as (
        select
            session,
            epoch_ns(timestamp) as quote_ns,
            bid_price,
            bid_size,
            ask_price,
            ask_size,
            lead(epoch_ns(timestamp)) over (
                partition by session order by timestamp, sequence_number
            ) as next_ns
        from quotes_of($symbol, $start, $end)
    ),

    standing as (
        select
            quoted.bid_price,
            quoted.bid_size,
            quoted.ask_price,
            quoted.ask_size,
            greatest(quoted.quote_ns, hours.open_ns) - hours.open_ns as start_ns,
            least(coalesce(quoted.next_ns, hours.close_ns), hours.close_ns)
            - hours.open_ns as end_ns
        from quoted
        inner join hours on quoted.session = hours.session
    ),

    cut as (
        select
            *,
            unnest(
                range(
                    divide(start_ns, $minutes * 60000000000),
                    divide(end_ns - 1, $minutes * 60000000000) + 1
                )
            ) as slice
        from standing
        where end_ns > start_ns
    ),

    parts as (
        select
            slice,
            bid_price,
            bid_size,
            ask_price,
            ask_size,
            bid_price > 0 and ask_price >= bid_price as is_good,
            (
                least(end_ns, (slice + 1) * $minutes * 60000000000)
                - greatest(start_ns, slice * $minutes * 60000000000)
            )
            / 1000000000 as seconds
        from cut
    ),

    slices as (
        select
            slice,
            sum(seconds) filter (is_good) as seconds,
            coalesce(sum(seconds) filter (not is_good), 0) as seconds_out,
            sum((ask_price - bid_price) * seconds) filter (is_good) as spread,
            sum(20000 * (ask_price - bid_price) / (ask_price + bid_price) * seconds) filter (
                is_good
            ) as spread_points,
            sum(bid_size * seconds) filter (is_good) as bid_size,
            sum(ask_size * seconds) filter (is_good) as ask_size,
            count(*) as quotes
        from parts
        group by slice
    ),

    final as (
        select
            slice,
            quotes,
            round(seconds, 3) as seconds,
            round(seconds_out, 3) as seconds_out,
            round(100 * spread / seconds, 4) as spread_cents,
            round(spread_points / seconds, 4) as spread_basis_points,
            round(bid_size / seconds, 2) as bid_size,
            round(ask_size / seconds, 2) as ask_size
        from slices
        order by slice
    )

select *
from final
