-- report/held: what is published of each data type, in a range of sessions.
-- grain: data_type
-- params: $start date, $end date
--
-- $start and $end are sessions, both inclusive; NULL is open. `bytes` are those of the partitions
-- that the rows stand in, whole.
with
    entries as (
        select data_type, symbol, month, path, bytes, unnest(sessions) as entry from partitions
    ),

    inside as (
        select *
        from entries
        where
            entry.session >= coalesce($start::date, entry.session)
            and entry.session <= coalesce($end::date, entry.session)
    ),

    file_sizes as (
        select data_type, path, any_value(bytes) as bytes, count(distinct symbol) as partitions
        from inside
        group by data_type, path
    ),

    sizes as (
        select data_type, sum(bytes)::bigint as bytes, sum(partitions)::bigint as partitions
        from file_sizes
        group by data_type
    ),

    held as (
        select
            data_type,
            min(entry.session) as first_session,
            max(entry.session) as last_session,
            count(distinct entry.session) as sessions,
            count(distinct symbol) as symbols,
            sum(entry.rows)::bigint as rows
        from inside
        group by data_type
    ),

    final as (
        select held.*, sizes.partitions, sizes.bytes
        from held
        inner join sizes on held.data_type = sizes.data_type
        order by held.data_type
    )

select *
from final
