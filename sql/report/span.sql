-- report/span: the first and the last session that the warehouse knows anything of.
-- grain: one row; NULL where it knows of none
--
-- Days that the source was asked for in vain, more than a week before all that it had, are no part
-- of it: a mistyped year would count as missing for ever. Nor are days of which no file was there
-- yet, more than a week after.
with
    known as (
        select
            unnest(list_transform(sessions, lambda entry:entry.session)) as session,
            true as had,
            false as is_due
        from partitions
        union all
        select day, state not in ('missing', 'not_yet'), state = 'missing'
        from source_files
        where not (data_type = 'day_aggs' and symbol is not null)
    ),

    days as (
        select session, bool_or(had) as had, bool_or(had or is_due) as is_due
        from known
        group by session
    ),

    gaps as (
        select *, session - lag(session, 1, session) over (order by session) > 7 as is_gap from days
    ),

    stretches as (select *, count(*) filter (is_gap) over (order by session) as stretch from gaps),

    final as (
        select min(session) as first_session, max(session) as last_session
        from stretches
        where
            stretch >= coalesce((select min(stretch) from stretches where had), 0)
            and stretch <= coalesce((select max(stretch) from stretches where is_due), stretch)
    )

select *
from final
