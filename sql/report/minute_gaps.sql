-- report/minute_gaps: stretches of regular hours in which a symbol has no minute bar, longest
-- first.
-- grain: start_ns
-- params: $symbol varchar, $start date, $end date, $sessions date[], $opens bigint[], $closes
-- bigint[], $minutes double, $most integer
--
-- $start and $end are sessions, both inclusive; $sessions, $opens and $closes name the trading days
-- in between and their regular hours [open, close), in nanoseconds UTC. Longer than $minutes; at
-- most $most, `of_gaps` says how many there are. A session without a bar is one gap.
with
    hours as (
        select
            unnest($sessions::date[]) as session,
            unnest($opens::bigint[]) as open_ns,
            unnest($closes::bigint[]) as close_ns
    ),

    bars as (
        select session, epoch_ns(timestamp) as start_ns from minute_aggs_of($symbol, $start, $end)
    ),

    stretches as (
        select hours.session, bars.start_ns, bars.start_ns + 60000000000 as end_ns
        from hours
        inner join
            bars
            on hours.session = bars.session
            and bars.start_ns >= hours.open_ns
            and bars.start_ns < hours.close_ns
        union all
        select session, close_ns as start_ns, close_ns as end_ns
        from hours
    ),

    gaps as (
        select
            stretches.session,
            coalesce(
                lag(stretches.end_ns) over (
                    partition by stretches.session order by stretches.start_ns
                ),
                hours.open_ns
            ) as start_ns,
            stretches.start_ns as end_ns,
            hours.close_ns - hours.open_ns as session_ns
        from stretches
        inner join hours on stretches.session = hours.session
    ),

    long as (
        select
            session,
            start_ns,
            end_ns,
            (end_ns - start_ns) / 60000000000 as minutes,
            end_ns - start_ns = session_ns as is_session,
            count(*) over () as of_gaps
        from gaps
        where end_ns - start_ns > $minutes::double * 60000000000
    ),

    final as (select * from long order by end_ns - start_ns desc, start_ns limit $most)

select *
from final
