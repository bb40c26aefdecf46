-- validate/midnight_bars: sessions of which each minute bar begins at midnight.
-- grain: one row per session
-- severity: error
-- data_types: minute_aggs
-- on_ingest: yes
--
-- That is how day bars begin: a file of day_aggs stands in the place of one of minute_aggs. The
-- vendor's minutes lie between 04:00 and 20:00 in New York.
select null as symbol, session, min(timestamp) as timestamp, count(*) as row_count
from minute_aggs
group by session
having
    min(timestamp) = max(timestamp)
    and epoch_ns(min(timestamp)) = epoch_ns(timezone('America/New_York', session::timestamp))
order by session
