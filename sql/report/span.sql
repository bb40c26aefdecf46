-- report/span: the first and the last session that the warehouse knows anything of.
-- grain: one row; NULL where it knows of none
with
    days as (
        select unnest(list_transform(sessions, lambda entry:entry.session)) as session
        from partitions
        union all
        select day
        from source_files
        where not (data_type = 'day_aggs' and symbol is not null)
    ),

    final as (select min(session) as first_session, max(session) as last_session from days)

select *
from final
