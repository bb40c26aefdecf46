-- validate/uniform_sizes: sessions of many trades, none of a share or less and none of a round lot.
-- grain: one row per session
-- params: $min_daily_trades integer = 100
-- severity: error
-- data_types: trades
-- on_ingest: no
--
-- Of all symbols together. The vendor's trades of 2015-01-06 and 2015-01-07 have sizes of 33 to 49
-- throughout, which are none. A symbol too dear for round lots trades single shares all day long.
select
    null::varchar as symbol,
    session,
    min(timestamp) as timestamp,
    count(*) as row_count,
    min(size) as smallest,
    max(size) as largest
from trades
group by session
having count(*) >= $min_daily_trades and min(size) > 1 and max(size) < 100
order by session
