-- validate/coarse_bars: sessions of minute bars that begin at multiples of five minutes alone.
-- grain: one row per session
-- severity: error
-- data_types: minute_aggs
-- on_ingest: yes
--
-- So do bars of five minutes, of half an hour, of an hour: a file of these stands in the place of
-- one of minutes. Of all symbols together, and of ten different minutes or more: an illiquid
-- symbol may trade at such times alone, as in the auctions.
select
    null as symbol,
    session,
    min(timestamp) as timestamp,
    count(*) as row_count,
    count(distinct timestamp) as minutes
from minute_aggs
group by session
having
    count(distinct timestamp) >= 10
    and count(*) filter (where epoch_ns(timestamp) % 300_000_000_000 <> 0) = 0
order by session
