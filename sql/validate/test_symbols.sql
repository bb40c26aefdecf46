-- validate/test_symbols: securities that exist for the exchanges' own tests.
-- grain: one row per symbol and session
-- severity: warning
-- data_types: trades, quotes, minute_aggs, day_aggs
-- on_ingest: yes
--
-- The vendor's files hold them like any other; nobody owns or trades them. A study of the whole
-- market has to leave them out.
with
    symbols as (
        select symbol, session, min(timestamp) as timestamp, count(*) as row_count
        from checked
        group by symbol, session
    )

select symbol, session, timestamp, row_count
from symbols
where
    regexp_full_match(
        symbol,
        'Z[VWXBJ]ZZT|ZVZZC|ZV?ZZTNT|Z[BJ]ZX|ZTST|ZTEST|ZEXIT|ZIEXT|ZXIET|ZXYZ.A|CBO|CBX|IGZ'
        || '|[ABCMNPZ]TEST|[A-Z]TEST[.][A-Z]|[A-Z]+[.]TEST'
    )
order by symbol, session
