-- features/vwap: the volume-weighted average price of the session so far, at each trade that
-- counts.
-- grain: symbol, timestamp, sequence_number, exchange, id
-- lookback: session
-- columns: price dollars, size shares, volume shares so far, vwap dollars
-- source: Berkowitz, Logue and Noser (1988), The total cost of transactions on the NYSE, Journal
-- of Finance 43(1), 97-112
--
-- A trade counts unless one of its conditions may not update the volume, by the rules valid in its
-- session (trade_conditions); an unknown condition forbids nothing. Cancelled and corrected trades
-- are gone since cleaning. Dollars and shares are summed as decimals, so that the sums do not
-- depend on the threads; a trade of 10^29 dollars or 10^32 shares does not fit them, and is an
-- error that names it. NULL while no share was traded.
with
    barred as (
        select
            conditions,
            coalesce(valid_from, '0001-01-01') as valid_from,
            coalesce(valid_to, '9999-12-31') as valid_to
        from (select distinct conditions from trades where conditions is not null)
        inner join
            trade_conditions
            on list_contains(
                string_split_regex(trim(conditions), ' *, *'), trade_conditions.id::varchar
            )
        where not updates_volume
    ),
    counted as (
        select
            trades.*,
            coalesce(
                try_cast(trades.price * trades.size as decimal(38, 9)),
                -- Not to be cast: DuckDB's error quotes the text.
                case
                    when trades.price * trades.size is not null
                    then
                        format(
                            'the trade of {} at {}: {} x {} dollars are too many for vwap',
                            trades.symbol,
                            trades.timestamp,
                            trades.price,
                            trades.size
                        )::decimal(38, 9)
                end
            ) as dollars,
            coalesce(
                try_cast(trades.size as decimal(38, 6)),
                case
                    when trades.size is not null
                    then
                        format(
                            'the trade of {} at {}: {} shares are too many for vwap',
                            trades.symbol,
                            trades.timestamp,
                            trades.size
                        )::decimal(38, 6)
                end
            ) as shares
        from trades
        where
            not exists (
                select 1
                from barred
                where
                    barred.conditions = trades.conditions
                    and trades.session between barred.valid_from and barred.valid_to
            )
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
