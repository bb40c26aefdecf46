-- validate/outside_hours: rows stamped outside the hours that the vendor's files cover.
-- grain: one row per symbol and session
-- severity: warning
-- data_types: trades, quotes, minute_aggs
-- on_ingest: no
--
-- 04:00 to 20:00 in New York, counted from the open at 09:30, which is the same in every session; a
-- minute on either side is left to the messages with which the SIP begins and ends its day. Rows
-- outside of the day itself were rejected when they came.
select
    checked.symbol,
    checked.session,
    min(checked.timestamp) as timestamp,
    max(checked.timestamp) as last_timestamp,
    count(*) as row_count
from checked
inner join sessions on sessions.session = checked.session
where
    epoch_ns(checked.timestamp) < sessions.open_ns - 19860 * 1000000000::bigint
    or epoch_ns(checked.timestamp) >= sessions.open_ns + 37860 * 1000000000::bigint
group by checked.symbol, checked.session
order by checked.symbol, checked.session
