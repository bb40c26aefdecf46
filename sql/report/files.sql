-- report/files: the vendor's files by state, and whether their lines add up.
-- grain: data_type, state
-- params: $start date, $end date
--
-- $start and $end are sessions, both inclusive; NULL is open. lines = rows_published +
-- rows_rejected + rows_unselected of every file that is published; `off` counts those of which this
-- does not hold. A file of a month counts by its first day.
with
    final as (
        select
            data_type,
            state,
            count(*) as files,
            sum(bytes)::bigint as bytes,
            sum(lines)::bigint as lines,
            sum(rows_published)::bigint as rows_published,
            sum(rows_rejected)::bigint as rows_rejected,
            sum(rows_unselected)::bigint as rows_unselected,
            count(*) filter (
                lines <> rows_published + rows_rejected + coalesce(rows_unselected, 0)
            ) as off
        from source_files
        where day >= coalesce($start::date, day) and day <= coalesce($end::date, day)
        group by data_type, state
        order by data_type, state
    )

select *
from final
