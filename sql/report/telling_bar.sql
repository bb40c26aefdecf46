-- report/telling_bar: the minute whose high or low the rules of trade conditions changed most, else
-- the one with most trades.
-- grain: one row; none where there is no such minute
-- params: $symbol varchar, $first date, $last date, $hours varchar, $most integer
--
-- $first and $last are sessions, both inclusive; $hours are those of bars. Of minutes with a bar
-- and at most $most trades, `of_bars` in all. `lowest` and `highest` are of all trades that there
-- are, `low` and `high` of those that may set them; `change` is how far the farther two are apart,
-- in dollars.
with
    bars as (
        select session, epoch_ns(timestamp) as begin_ns, high, low
        from bars_of($symbol, $first, $last, every := '1m', hours := $hours)
    ),

    minutes as (
        select
            divide(epoch_ns(timestamp), 60000000000) * 60000000000 as begin_ns,
            min(price) as lowest,
            max(price) as highest,
            count(*) as trades
        from trades_of($symbol, $first, $last)
        group by begin_ns
    ),

    judged as (
        select
            bars.session,
            bars.begin_ns,
            bars.high,
            bars.low,
            minutes.highest,
            minutes.lowest,
            minutes.trades,
            greatest(minutes.highest - bars.high, bars.low - minutes.lowest, 0) as change,
            count(*) over () as of_bars
        from bars
        inner join minutes on bars.begin_ns = minutes.begin_ns
        where minutes.trades <= $most
    ),

    final as (select * from judged order by change desc, trades desc, begin_ns limit 1)

select *
from final
