-- validate/unknown_trade_exchanges: trades at an exchange that config/exchanges.csv does not name.
-- grain: one row per symbol, session and exchange
-- severity: warning
-- data_types: trades
-- on_ingest: yes
--
-- A new exchange is added to the table; a code that is none at all means that columns have moved.
select symbol, session, min(timestamp) as timestamp, exchange, count(*) as row_count
from trades
where exchange not in (select id from exchanges)
group by symbol, session, exchange
order by symbol, session, exchange
