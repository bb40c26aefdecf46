-- report/reconciliations: how our bars compared with the vendor's when they were last held against
-- them, latest first.
-- grain: data_type, symbols
-- params: $start date, $end date, $few integer, $most integer
--
-- Of each data type and choice of symbols (NULL: all that have trades) the last result that has a
-- session in the range; $start and $end are sessions, both inclusive, NULL is open. At most $most,
-- `of_reconciliations` says how many there are. `shares` tells of each field how many bars were
-- compared and how many are equal; `classes` what the `differences` are due to, the $few most
-- frequent of `of_classes`, each with examples of the field that has most. `cause` is the change of
-- the rules that makes most of them vanish, `explained` says how many.
with
    inside as (
        select *
        from reconciliations
        where
            compared > 0
            and first_session <= coalesce($end::date, first_session)
            and last_session >= coalesce($start::date, last_session)
    ),

    latest as (
        select *
        from inside
        qualify checked_at = max(checked_at) over (partition by data_type, symbols)
    ),

    fields as (
        select
            data_type,
            symbols,
            hours,
            field,
            max(compared) as compared,
            max(equal) as equal,
            list_position(['regular', 'extended', 'all'], hours) as hours_place,
            list_position(
                ['bar', 'open', 'high', 'low', 'close', 'volume', 'trades'], field
            ) as field_place
        from latest
        group by data_type, symbols, hours, field
    ),

    shares as (
        select
            data_type,
            symbols,
            list(
                struct_pack(hours := hours, field := field, compared := compared, equal := equal)
                order by hours_place, hours, field_place, field
            ) as shares
        from fields
        group by data_type, symbols
    ),

    classes as (
        select
            data_type,
            symbols,
            difference_class,
            cause,
            sum("count")::bigint as differences,
            first(
                struct_pack(field := field, examples := examples)
                order by "count" desc, hours, field, examples
            ) as example
        from latest
        where "count" > 0
        group by data_type, symbols, difference_class, cause
    ),

    ranked as (
        select
            *,
            row_number() over (
                partition by data_type, symbols order by differences desc, difference_class, cause
            ) as place
        from classes
    ),

    differences as (
        select
            data_type,
            symbols,
            sum(differences)::bigint as differences,
            count(*) as of_classes,
            list(
                struct_pack(
                    "class" := difference_class,
                    cause := cause,
                    "count" := differences,
                    field := example.field,
                    examples := example.examples
                )
                order by place
            ) filter (place <= $few) as classes
        from ranked
        group by data_type, symbols
    ),

    by_cause as (
        select data_type, symbols, cause, sum(differences)::bigint as explained
        from classes
        where cause is not null
        group by data_type, symbols, cause
    ),

    causes as (
        select
            data_type,
            symbols,
            first(cause order by explained desc, cause) as cause,
            max(explained) as explained
        from by_cause
        group by data_type, symbols
    ),

    results as (
        select
            data_type,
            symbols,
            max(checked_at) as checked_at,
            min(first_session) as first_session,
            max(last_session) as last_session
        from latest
        group by data_type, symbols
    ),

    final as (
        select
            results.*,
            shares.shares,
            coalesce(differences.differences, 0) as differences,
            causes.cause,
            coalesce(causes.explained, 0) as explained,
            coalesce(differences.of_classes, 0) as of_classes,
            differences.classes,
            count(*) over () as of_reconciliations
        from results
        inner join
            shares
            on results.data_type = shares.data_type
            and results.symbols is not distinct from shares.symbols
        left join
            differences
            on results.data_type = differences.data_type
            and results.symbols is not distinct from differences.symbols
        left join
            causes
            on results.data_type = causes.data_type
            and results.symbols is not distinct from causes.symbols
        order by results.checked_at desc, results.data_type desc, results.symbols nulls first
        limit $most
    )

select *
from final
