-- coverage/rejected: of each session and symbol asked for, how many of its rows were refused.
-- grain: one row per session and symbol of which there are rejects
-- params: $files varchar[], $sessions date[], $symbols varchar[]
--
-- Reads the rejects of $files. A line that could not be read as far as its symbol is nobody's.
with
    refused as (
        select session, symbol, reason, count(*) as rows
        from read_parquet($files, union_by_name = true, hive_partitioning = false)
        where session in (select unnest($sessions)) and symbol in (select unnest($symbols))
        group by session, symbol, reason
    )

select
    session,
    symbol,
    sum(rows)::bigint as rows,
    string_agg(reason || ' ' || rows, ', ' order by rows desc, reason) as reasons
from refused
group by session, symbol
order by session, symbol
