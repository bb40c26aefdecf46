-- coverage/rejected: of each session and symbol asked for, how many of its rows were refused.
-- grain: one row per session and symbol of which there are rejects
-- params: $files varchar[], $sessions date[], $symbols varchar[]
--
-- Reads the rejects of $files. A line that is no row is that of the symbol which one of its fields
-- names, in whichever order they stand; one that names none is nobody's. A line may be as long as
-- a file: a thousand letters hold the fields of any that is one. In a file that holds a month it is
-- of the session whose midnight in New York its first number of nanoseconds is: of that day in UTC,
-- too. One without such a number may be of any session of the month; session is NULL then.
with
    dated as (
        select
            symbol,
            reason,
            line,
            coalesce(
                session,
                make_timestamp_ns(
                    try_cast(
                        list_filter(
                            string_split(replace(substr(line, 1, 1000), '"', ''), ','),
                            lambda field:strlen(field) = 19 and regexp_full_match(field, '[0-9]+')
                        )[1] as bigint
                    )
                )::date
            ) as session
        from read_parquet($files, union_by_name = true, hive_partitioning = false)
        where session is null or session in (select unnest($sessions))
    ),
    told as (
        select session, symbol, reason, line
        from dated
        where session is null or session in (select unnest($sessions))
    ),
    attributed as (
        select session, symbol, reason
        from told
        where symbol is not null
        union all
        select
            session,
            unnest(
                list_distinct(string_split(replace(substr(line, 1, 1000), '"', ''), ','))
            ) as symbol,
            reason
        from told
        where symbol is null
    ),
    refused as (
        select session, symbol, reason, count(*) as rows
        from attributed
        where symbol in (select unnest($symbols))
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
