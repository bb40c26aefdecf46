-- validate/day_volumes: day bars with less volume than their minutes have together.
-- grain: one row per symbol and session
-- severity: warning
-- data_types: day_aggs
-- on_ingest: no
--
-- What counts in a minute's volume counts in the day's, and a minute with no eligible trade has no
-- bar: the day has at least as much. A millionth of it is left to the rounding of sums.
with
    minutes as (
        select symbol, session, sum(volume) as minutes_volume, count(*) as minutes
        from minute_aggs
        group by symbol, session
    )

select
    day_aggs.symbol,
    day_aggs.session,
    day_aggs.timestamp,
    day_aggs.volume,
    minutes.minutes_volume,
    minutes.minutes
from day_aggs
inner join minutes on minutes.symbol = day_aggs.symbol and minutes.session = day_aggs.session
where minutes.minutes_volume > day_aggs.volume * 1.000001
order by day_aggs.symbol, day_aggs.session
