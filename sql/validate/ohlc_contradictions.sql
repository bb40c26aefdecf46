-- validate/ohlc_contradictions: bars whose open or close lies outside their low and high.
-- grain: one row per bar
-- severity: error
-- data_types: minute_aggs, day_aggs
-- on_ingest: yes
--
-- No condition lets a trade set open or close and not high and low, so no such bar can come from
-- trades. Prices are compared exactly: they come as decimal text, and equal text is equal here.
select symbol, session, timestamp, open, high, low, close, volume, trades
from checked
where low > least(open, close) or high < greatest(open, close) or volume < 0 or trades < 0
order by symbol, session, timestamp
