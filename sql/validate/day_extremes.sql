-- validate/day_extremes: day bars that a minute of the regular hours goes beyond.
-- grain: one row per symbol and session
-- severity: warning
-- data_types: day_aggs
-- on_ingest: no
--
-- A trade that may set the high or the low of a minute within regular hours may set the day's. Of
-- the minutes outside it is not so: there trades with Form T (12) set prices, and of a day never.
with
    minutes as (
        select
            minute_aggs.symbol,
            minute_aggs.session,
            max(minute_aggs.high) as minutes_high,
            min(minute_aggs.low) as minutes_low
        from minute_aggs
        inner join sessions on sessions.session = minute_aggs.session
        where epoch_ns(minute_aggs.timestamp) between sessions.open_ns and sessions.close_ns - 1
        group by minute_aggs.symbol, minute_aggs.session
    )

select
    day_aggs.symbol,
    day_aggs.session,
    day_aggs.timestamp,
    day_aggs.high,
    minutes.minutes_high,
    day_aggs.low,
    minutes.minutes_low
from day_aggs
inner join minutes on minutes.symbol = day_aggs.symbol and minutes.session = day_aggs.session
where minutes.minutes_high > day_aggs.high or minutes.minutes_low < day_aggs.low
order by day_aggs.symbol, day_aggs.session
