-- report/unfinished_files: the vendor's files that are not published as they should be, latest
-- first.
-- grain: source
-- params: $start date, $end date, $most integer
--
-- $start and $end are sessions, both inclusive; NULL is open. At most $most files; `of_files` says
-- how many there are. One that has lost rows comes first, then one that was set aside, one that
-- waits, one that is absent.
with
    files as (
        select
            data_type,
            day as session,
            symbol,
            source,
            state,
            problem,
            recorded_at,
            count(*) over () as of_files
        from source_files
        where
            state <> 'ingested'
            and day >= coalesce($start::date, day)
            and day <= coalesce($end::date, day)
    ),

    final as (
        select *
        from files
        order by
            list_position(
                [
                    'rows_lost',
                    'set_aside',
                    'failed',
                    'downloaded',
                    'not_in_plan',
                    'missing',
                    'not_yet'
                ],
                state
            ),
            session desc,
            data_type,
            source
        limit $most
    )

select *
from final
