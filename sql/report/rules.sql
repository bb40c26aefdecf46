-- report/rules: what each rule of sql/validate found, with its first offending rows.
-- grain: rule, severity, allowed
-- params: $start date, $end date, $most integer
--
-- $start and $end are sessions, both inclusive; NULL is open, and a finding of no session counts.
-- `allowed` is why a finding counts for nothing, NULL where it counts. `examples` are of the $most
-- findings with the most rows, `findings` says how many there are.
with
    inside as (
        select *
        from findings
        where
            session is null
            or (
                session >= coalesce($start::date, session)
                and session <= coalesce($end::date, session)
            )
    ),

    ranked as (
        select
            *,
            row_number() over (
                partition by rule, severity, allowed
                order by
                    "count" desc, session desc nulls last, data_type, symbol nulls first, checked_at
            ) as place
        from inside
    ),

    by_rule as (
        select
            rule,
            severity,
            allowed,
            count(*) as findings,
            sum("count")::bigint as rows,
            count(distinct symbol) as symbols,
            count(distinct session) as sessions,
            histogram(data_type) as findings_by_data_type,
            max(checked_at) as checked_at,
            list(
                struct_pack(
                    data_type := data_type,
                    symbol := symbol,
                    session := session,
                    rows := "count",
                    examples := examples
                )
                order by place
            ) filter (place <= $most) as examples
        from ranked
        group by rule, severity, allowed
    ),

    final as (
        select *
        from by_rule
        order by
            allowed is not null,
            list_position(['error', 'warning'], severity),
            rows desc,
            rule,
            allowed
    )

select *
from final
