-- bars/classed: differences counted by class and cause, with the first three of each.
-- grain: hours, field, class, cause
-- reads: classes
with
    numbered as (
        select
            *,
            row_number() over (
                partition by hours, field, class, cause order by symbol, session, bar
            ) as place
        from classes
    )
select
    hours,
    field,
    class,
    cause,
    count(*) as differences,
    list(
        struct_pack(
            symbol := symbol, session := session, start_ns := bar, ours := ours, theirs := theirs
        )
        order by place
    ) filter (where place <= 3) as examples
from numbered
group by hours, field, class, cause
order by hours, field, class, cause
