-- validate/few_trades: symbols that traded fewer times in a session than a study can rest on.
-- grain: one row per symbol and session
-- params: $min_daily_trades integer = 100
-- severity: warning
-- data_types: trades
-- on_ingest: yes
--
-- Most of them are just rarely traded, every day. One that is usually busy was halted, or part of
-- the session is missing.
select symbol, session, min(timestamp) as timestamp, count(*) as trades
from trades
group by symbol, session
having count(*) < $min_daily_trades
order by symbol, session
