-- features/vwap: the volume-weighted average price of the session so far, at each trade that
-- counts.
-- grain: symbol, timestamp, sequence_number, exchange, id
-- lookback: session
-- columns: price dollars, size shares, volume shares so far, vwap dollars
-- source: Berkowitz, Logue and Noser (1988), The total cost of transactions on the NYSE, Journal
-- of Finance 43(1), 97-112
--
-- A trade counts unless one of its conditions may not update the volume (trade_conditions); an
-- unknown condition forbids nothing. Cancelled and corrected trades are gone since cleaning.
-- Dollars and shares are summed as decimals, so that the sums do not depend on the threads. NULL
-- while no share was traded.
with
    barred as (
        select coalesce(list(id::varchar order by id), []) as ids
        from trade_conditions
        where not updates_volume
    ),
    counted as (
        select
            trades.*,
            try_cast(trades.price * trades.size as decimal(38, 9)) as dollars,
            try_cast(trades.size as decimal(38, 6)) as shares
        from trades
        cross join barred
        where
            trades.conditions is null
            or not list_has_any(string_split(trades.conditions, ','), barred.ids)
    ),
    summed as (
        select
            *, sum(dollars) over so_far as dollars_so_far, sum(shares) over so_far as shares_so_far
        from counted
        window
            so_far as (
                partition by symbol, session
                order by
                    timestamp, sequence_number nulls first, exchange nulls first, id nulls first
                rows between unbounded preceding and current row
            )
    ),
    averaged as (
        select
            symbol,
            timestamp,
            sequence_number,
            exchange,
            id,
            price,
            size,
            shares_so_far::double as volume,
            dollars_so_far::double / nullif(shares_so_far::double, 0) as vwap,
            session
        from summed
    )
select *
from averaged
order by symbol, timestamp, sequence_number nulls first, exchange nulls first, id nulls first
