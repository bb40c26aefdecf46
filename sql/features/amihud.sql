-- features/amihud: Amihud's illiquidity: how far the price moves for a million dollars traded.
-- grain: symbol, timestamp
-- params: $days integer (1 or more) = 21
-- lookback: $days rows
-- columns: illiquidity share of the price per million dollars
-- source: Amihud (2002), Illiquidity and stock returns, Journal of Financial Markets 5(1), eq.
-- 1, times a million
--
-- The mean of |return| / (close x volume) over the last $days day bars, days without volume left
-- out; NULL until there are $days returns, or where all of them are without volume. A day's
-- stamp is its midnight: the row is known when the day is over.
with
    returned as (
        select
            symbol,
            timestamp,
            session,
            abs(
                close / lag(close) over (partition by symbol order by timestamp) - 1
            ) as absolute_return,
            volume,
            close,
            close * nullif(volume, 0) as dollars
        from day_aggs
    ),
    measured as (
        select
            *,
            -- Dollars beyond a double are not infinitely many.
            case
                when isinf(dollars)
                then absolute_return / close / volume * 1e6
                else absolute_return / dollars * 1e6
            end as moved
        from returned
    ),
    collected as (
        select
            *, count(absolute_return) over recent as returns_known, list(moved) over recent as moves
        from measured
        window
            recent as (
                partition by symbol
                order by timestamp rows between $days - 1 preceding and current row
            )
    ),
    averaged as (
        -- One list after the other, in its order: a moving average of doubles depends on where it
        -- began.
        select
            symbol,
            timestamp,
            case when returns_known = $days then list_avg(moves) end as illiquidity,
            session
        from collected
    )
select *
from averaged
order by symbol, timestamp
