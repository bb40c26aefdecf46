-- report/recent_sessions: a symbol's last sessions with trades, as many as hold few enough
-- together.
-- grain: one row; none where the symbol has no trades
-- params: $symbol varchar, $start date, $end date, $most bigint
--
-- $start and $end are sessions, both inclusive. The last one is always among them, whatever it
-- holds; `of_sessions` says how many there are with trades.
with
    entries as (
        select unnest(sessions) as entry
        from partitions
        where data_type = 'trades' and symbol = $symbol
    ),

    held as (
        select entry.session as session, sum(entry.rows) as trades
        from entries
        where entry.session between $start::date and $end::date
        group by entry.session
        having sum(entry.rows) > 0
    ),

    summed as (
        select
            session,
            sum(trades) over (order by session desc) as trades_since,
            row_number() over (order by session desc) as place,
            count(*) over () as of_sessions
        from held
    ),

    final as (
        select
            min(session) as first_session,
            max(session) as last_session,
            count(*) as sessions,
            max(of_sessions) as of_sessions
        from summed
        where place = 1 or trades_since <= $most
        having count(*) > 0
    )

select *
from final
