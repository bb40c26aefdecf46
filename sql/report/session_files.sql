-- report/session_files: what is known of the vendor's files of each session.
-- grain: data_type, session
-- params: $start date, $end date
--
-- $start and $end are sessions, both inclusive. A file of a month says nothing of its sessions.
-- `unfinished` counts the files that are not published as they are now.
select
    data_type,
    day as session,
    sum(bytes)::bigint as file_bytes,
    sum(rows_rejected)::bigint as rejects,
    count(*) filter (state <> 'ingested') as unfinished,
    min(problem) as problem
from source_files
where
    day between $start::date and $end::date and not (data_type = 'day_aggs' and symbol is not null)
group by data_type, day
