-- validate/unknown_quote_exchanges: quotes of an exchange that config/exchanges.csv does not name.
-- grain: one row per symbol, session and pair of exchanges
-- severity: warning
-- data_types: quotes
-- on_ingest: yes
--
-- A side that nobody quotes has no exchange either: 0, or a code that is left from before. So only
-- sides with a price are asked about.
select
    symbol, session, min(timestamp) as timestamp, bid_exchange, ask_exchange, count(*) as row_count
from quotes
where
    (bid_price > 0 and bid_exchange not in (select id from exchanges))
    or (ask_price > 0 and ask_exchange not in (select id from exchanges))
group by symbol, session, bid_exchange, ask_exchange
order by symbol, session, bid_exchange, ask_exchange
