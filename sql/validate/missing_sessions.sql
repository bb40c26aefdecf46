-- validate/missing_sessions: sessions of the exchange's calendar without a single row.
-- grain: one row per session
-- severity: warning
-- data_types: trades, quotes, minute_aggs, day_aggs
-- on_ingest: no
--
-- From the first session that is asked about to the last. A warning: the file may not be had at the
-- vendor (`state` and `problem` say so), or may never have been wanted.
with
    present as (
        select distinct unnest(list_transform(sessions, lambda entry:entry.session)) as session
        from partitions
    ),

    files as (
        select
            day as session,
            max(state) as state,
            max(problem) as problem,
            sum(rows_rejected)::bigint as rows_rejected
        from source_files
        group by day
    )

select
    null::varchar as symbol,
    sessions.session,
    null::timestamp_ns as timestamp,
    sessions.is_half_day,
    files.state,
    files.problem,
    files.rows_rejected
from sessions
left join files on files.session = sessions.session
where sessions.session not in (select session from present)
order by sessions.session
