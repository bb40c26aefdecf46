-- report/rejects: rejected rows by reason, of the files that are published.
-- grain: data_type, reason
-- params: $start date, $end date
--
-- $start and $end are sessions, both inclusive; NULL is open. A file of a month counts by its
-- first day.
with
    files as (
        select data_type, unnest(map_entries(rejects_by_reason)) as entry
        from source_files
        where
            state = 'ingested'
            and day >= coalesce($start::date, day)
            and day <= coalesce($end::date, day)
    ),

    final as (
        select data_type, entry.key as reason, sum(entry.value)::bigint as rows
        from files
        group by data_type, entry.key
        having sum(entry.value) > 0
        order by rows desc, data_type, reason
    )

select *
from final
