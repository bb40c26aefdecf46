-- validate/half_days: symbols that traded on after the close of a half-day as on a full day.
-- grain: one row per symbol and session
-- params: $min_daily_trades integer = 100
-- severity: warning
-- data_types: trades
-- on_ingest: no
--
-- In the three hours after an early close there is a tenth of the trading there was before it. At
-- half its pace or more the rows are those of another day, or the calendar is wrong. A full day
-- that ends like a half one shows in time_gaps.
with
    counted as (
        select
            trades.symbol,
            trades.session,
            min(trades.timestamp) filter (
                epoch_ns(trades.timestamp) >= sessions.close_ns
            ) as timestamp,
            count(*) filter (epoch_ns(trades.timestamp) < sessions.close_ns)
            / any_value((sessions.close_ns - sessions.open_ns) / 60e9) as per_minute_before,
            count(*) filter (epoch_ns(trades.timestamp) >= sessions.close_ns)
            / 180 as per_minute_after,
            count(*) filter (epoch_ns(trades.timestamp) >= sessions.close_ns) as row_count
        from trades
        inner join sessions on sessions.session = trades.session and sessions.is_half_day
        where
            epoch_ns(trades.timestamp)
            between sessions.open_ns and sessions.close_ns + 10800 * 1000000000::bigint
        group by trades.symbol, trades.session
    )

select symbol, session, timestamp, row_count, per_minute_before, per_minute_after
from counted
where row_count >= $min_daily_trades and per_minute_after >= 0.5 * per_minute_before
order by symbol, session
