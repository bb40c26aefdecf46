-- report/checked: whether the rules of validation were asked, and about what.
-- grain: one row
--
-- `checked` is `all` where every rule may have been asked about what is published, for a run of
-- `validate` came after the last that published rows; `ingest` where only the rules that incoming
-- rows suffice to judge were asked; else `never`.
with
    done as (
        select
            max(started_at) filter (command = 'validate') as validated_at,
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
