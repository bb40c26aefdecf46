-- validate/zero_sizes: symbols of whose trades in a session more than is usual have size zero.
-- grain: one row per symbol and session
-- params: $max_zero_size_share double = 0.01
-- severity: warning
-- data_types: trades
-- on_ingest: yes
--
-- The vendor's files hold a few trades of size zero every day (official opening and closing prices
-- for one). Many of them mean that sizes were lost.
with
    counted as (
        select
            symbol,
            session,
            min(timestamp) filter (size = 0) as timestamp,
            count(*) filter (size = 0) as row_count,
            count(*) as trades
        from trades
        group by symbol, session
    )

select symbol, session, timestamp, row_count, trades, row_count / trades as share
from counted
where row_count > 1 and row_count > $max_zero_size_share * trades
order by symbol, session
