-- validate/empty_bars: bars of the regular hours with no volume.
-- grain: one row per bar
-- severity: warning
-- data_types: minute_aggs, day_aggs
-- on_ingest: no
--
-- After the close a corrected closing price (condition 38) sets prices and counts in no volume.
-- Within regular hours, or of a day, a price without a share is none that anybody paid.
select checked.symbol, checked.session, checked.timestamp, open, close, volume, trades
from checked
inner join sessions on sessions.session = checked.session
where
    (volume = 0 or trades = 0)
    and epoch_ns(checked.timestamp) < sessions.close_ns
    and (epoch_ns(checked.timestamp) >= sessions.open_ns or hour(checked.timestamp) < 6)
order by checked.symbol, checked.session, checked.timestamp
