-- coverage/states: of each session and symbol asked for, whether its rows are there, or why not.
-- grain: one row per session and symbol asked for
-- params: $data_type varchar, $sessions date[], $symbols varchar[], $is_monthly boolean, $due date
--
-- Reads the catalog's tables. Where $symbols is NULL, a row per session speaks of all symbols
-- together; `symbol` is NULL in it. A symbol's own file says more than the one that holds all of
-- them; where $is_monthly, it holds the sessions of its month that there were when it was made. A
-- file that came down anew, or was then refused, leaves what was ingested of it before. $due is the
-- last session whose file should be there. `file_state` is NULL where no file is known. Of a file
-- that has lost rows nobody knows whose they were: nobody is said not to have traded then.
with
    asked_sessions as (select unnest($sessions::date[]) as session),
    asked_symbols as (
        select unnest($symbols::varchar[]) as symbol, generate_subscripts($symbols, 1) as place
        union all
        select null as symbol, 0 as place
        where $symbols is null
    ),
    stored as (
        select symbol, unnest(sessions, recursive := true)
        from partitions
        where
            data_type = $data_type
            and month between (select date_trunc('month', min(session)) from asked_sessions) and (
                select max(session) from asked_sessions
            )
    ),
    held as (
        select symbol, session, rows, rejects, 1 as symbols
        from stored
        where symbol in (select symbol from asked_symbols)
        union all
        select null as symbol, session, sum(rows), sum(rejects), count(*)
        from stored
        where $symbols is null
        group by session
    ),
    traded as (select distinct session from stored),
    known as (select distinct symbol from partitions),
    files as (
        select *
        from source_files
        where data_type = $data_type
        qualify
            row_number() over (
                partition by day, symbol order by state = 'ingested' desc, recorded_at desc, source
            )
            = 1
    ),
    of_all as (select * from files where symbol is null),
    of_one as (
        select
            files.symbol,
            asked_sessions.session,
            if(
                files.state = 'ingested' and $is_monthly and traded.session is null,
                null,
                files.state
            ) as state,
            files.problem
        from asked_sessions
        inner join
            files
            on files.day
            = if($is_monthly, date_trunc('month', asked_sessions.session), asked_sessions.session)
        left join traded on asked_sessions.session = traded.session
        where files.symbol is not null
    ),
    -- of several files the one that has lost rows, or is ingested, or else that most needs a hand
    of_any as (
        select session, arg_min(state, urgency) as state, arg_min_null(problem, urgency) as problem
        from
            (
                select
                    *,
                    list_position(
                        [
                            'rows_lost',
                            'ingested',
                            'set_aside',
                            'failed',
                            'downloaded',
                            'not_in_plan',
                            'missing',
                            'not_yet'
                        ],
                        state
                    ) as urgency
                from
                    (
                        select session, state, problem
                        from of_one
                        union all
                        select day as session, state, problem
                        from of_all
                    )
            )
        where $symbols is null and state is not null
        group by session
    ),
    told as (
        select symbol, session, state, problem
        from of_one
        union all
        select null as symbol, session, state, problem
        from of_any
    ),
    found as (
        select
            asked_sessions.session,
            asked_symbols.symbol,
            asked_symbols.place,
            coalesce(held.rows, 0) as rows,
            coalesce(held.rejects, 0) as rejects,
            coalesce(held.symbols, 0) as symbols,
            coalesce(told.state, of_all.state) as file_state,
            coalesce(told.problem, of_all.problem) as problem,
            known.symbol is not null or asked_symbols.symbol is null as is_known,
            told.state is null
            and of_all.symbols is not null
            and not list_contains(of_all.symbols, asked_symbols.symbol) as is_left_out,
            told.state is null
            and of_all.state not in ('ingested', 'rows_lost')
            and traded.session is not null as is_of_before
        from asked_sessions
        cross join asked_symbols
        left join
            held
            on asked_sessions.session = held.session
            and asked_symbols.symbol is not distinct from held.symbol
        left join
            told
            on asked_sessions.session = told.session
            and asked_symbols.symbol is not distinct from told.symbol
        left join known on asked_symbols.symbol = known.symbol
        left join of_all on asked_sessions.session = of_all.day
        left join traded on asked_sessions.session = traded.session
    ),
    judged as (
        select
            *,
            case
                when rows > 0 and (symbol is not null or file_state is distinct from 'rows_lost')
                then 'present'
                when file_state in ('ingested', 'rows_lost') and is_left_out
                then 'not_selected'
                when (file_state = 'ingested' or is_of_before) and is_known
                then 'no_rows'
                when file_state = 'ingested' or is_of_before
                then 'unknown'
                when file_state is null and session > $due
                then 'not_yet'
                when file_state is null or file_state = 'downloaded'
                then 'not_ingested'
                else file_state
            end as state
        from found
    )

select
    session,
    symbol,
    state,
    rows::bigint as rows,
    if(state in ('rows_lost', 'set_aside', 'failed', 'not_in_plan'), problem, null) as problem,
    file_state,
    rejects::bigint as rejects,
    symbols
from judged
order by session, place
