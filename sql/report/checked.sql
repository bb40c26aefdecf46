-- report/checked: whether the rules of validation were asked, and about what.
-- grain: one row
--
-- `checked` is `all` where every rule was asked about all that is published, by a run of `validate`
-- after the last that published rows (one that asked in part says so as its `problem`); `ingest`
-- where only the rules that incoming rows suffice to judge were asked about all of it; else
-- `never`.
with
    done as (
        select
            max(started_at) filter (command = 'validate' and problem is null) as validated_at,
            max(started_at) filter (
                command in ('ingest', 'update', 'rebuild') and rows_published > 0
            ) as published_at
        from runs
        where state = 'done'
    ),

    found as (select count(*) > 0 as any_found from findings),

    final as (
        select
            case
                when done.validated_at > coalesce(done.published_at, '-infinity'::timestamp)
                then 'all'
                when done.published_at is not null or found.any_found
                then 'ingest'
                else 'never'
            end as checked
        from done
        cross join found
    )

select *
from final
