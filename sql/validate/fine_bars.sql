-- validate/fine_bars: sessions of minute bars most of whose lines begin within a minute.
-- grain: one row per session
-- severity: error
-- data_types: minute_aggs
-- on_ingest: no
--
-- So do bars of a second or of half a minute: a file of these stands in the place of one of
-- minutes. Those that begin with a minute came in, and hold a part of it.
with
    refused as (
        select session, count(*) as row_count
        from rejects
        where reason = 'not_full_minute'
        group by session
    ),
    kept as (
        select session, min(timestamp) as timestamp, count(*) as kept
        from minute_aggs
        group by session
    )

select null as symbol, kept.session, kept.timestamp, refused.row_count, kept.kept
from kept
inner join refused on kept.session = refused.session
where refused.row_count >= kept.kept
order by kept.session
