-- report/coverage: what became of each session of each data type, closed days apart.
-- grain: data_type, session
-- params: $start date, $end date, $trading_days date[], $whole boolean
--
-- $start and $end are sessions, both inclusive; $trading_days are the exchange's in between. Where
-- $whole is false, a trading day before a data type's first or after its last session that the
-- source had is `outside` rather than `never` asked for. A day whose rows stand is `here`,
-- whatever became of a later version of its file: `unfinished` counts those of its files that are
-- in another state.
with
    trading_days as (select unnest($trading_days::date[]) as session),

    entries as (
        select data_type, symbol, unnest(sessions) as entry
        from partitions
        where month between date_trunc('month', $start::date) and $end::date
    ),

    held as (
        select
            data_type,
            entry.session as session,
            sum(entry.rows)::bigint as rows,
            sum(entry.rejects)::bigint as rejects,
            count(*) as symbols
        from entries
        where entry.session between $start::date and $end::date
        group by data_type, entry.session
    ),

    files as (
        select
            data_type,
            day as session,
            sum(bytes)::bigint as file_bytes,
            sum(rows_rejected)::bigint as rejects,
            count(*) filter (state = 'ingested') as ingested,
            count(*) filter (state <> 'ingested') as unfinished,
            -- of several the one that most needs a hand
            arg_min(
                state,
                list_position(
                    [
                        'set_aside',
                        'failed',
                        'downloaded',
                        'not_in_plan',
                        'missing',
                        'not_yet',
                        'ingested'
                    ],
                    state
                )
            ) as worst_state,
            min(problem) as problem
        from source_files
        -- a file of a month says nothing of its sessions; they are in `held`
        where
            day between $start::date and $end::date
            and not (data_type = 'day_aggs' and symbol is not null)
        group by data_type, day
    ),

    known as (
        select
            coalesce(held.data_type, files.data_type) as data_type,
            coalesce(held.session, files.session) as session,
            coalesce(held.rows, 0) as rows,
            coalesce(files.rejects, held.rejects, 0) as rejects,
            coalesce(held.symbols, 0) as symbols,
            files.file_bytes,
            coalesce(files.unfinished, 0) as unfinished,
            case
                when held.session is not null or files.ingested > 0
                then 'here'
                when files.worst_state = 'downloaded'
                then 'waiting'
                else files.worst_state
            end as state,
            files.problem
        from held
        full outer join files on held.data_type = files.data_type and held.session = files.session
    ),

    bounds as (
        select
            data_type,
            -- what the source was asked for in vain says nothing of the sessions in between
            min(session) filter (state not in ('missing', 'not_yet')) as first_session,
            max(session) filter (state not in ('missing', 'not_yet')) as last_session
        from known
        group by data_type
    ),

    calendar as (select bounds.*, trading_days.session from bounds cross join trading_days),

    joined as (
        select
            coalesce(known.data_type, calendar.data_type) as data_type,
            coalesce(known.session, calendar.session) as session,
            coalesce(
                known.state,
                case
                    when
                        $whole
                        or calendar.session between calendar.first_session and calendar.last_session
                    then 'never'
                    else 'outside'
                end
            ) as state,
            coalesce(known.rows, 0) as rows,
            coalesce(known.rejects, 0) as rejects,
            coalesce(known.symbols, 0) as symbols,
            known.file_bytes,
            coalesce(known.unfinished, 0) as unfinished,
            known.problem,
            calendar.session is not null as is_trading_day
        from known
        full outer join
            calendar on known.data_type = calendar.data_type and known.session = calendar.session
    ),

    final as (select * from joined order by data_type, session)

select *
from final
