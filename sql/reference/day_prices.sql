-- reference/day_prices: what the vendor's day bars say of the days of corporate actions.
-- grain: symbol, session
-- params: $symbols varchar[], $sessions date[], $previous date[]
--
-- Asked are a symbol and a session, and the exchange's session before it; of a symbol that its
-- security gave up and has gone on without, the last one that is held in its place. `first_price`
-- is the open of the day, `close_before` the close of the last session before it that is held, and
-- `close_session` that session. It is at most ten days older; and it is known to be the last one
-- only where it is the one that was asked with, or where a later bar of the symbol is held: else
-- the close that is meant may be still to come.
with
    asked as (
        select
            unnest($symbols::varchar[]) as symbol,
            unnest($sessions::date[]) as session,
            unnest($previous::date[]) as previous_session
    ),

    bars as (
        select
            symbol,
            session,
            first(open order by timestamp, open) as open,
            last(close order by timestamp, close) as close
        from day_aggs
        where
            symbol in (select symbol from asked)
            and session >= (select min(session) - 10 from asked)
            and open > 0
            and close > 0
        group by symbol, session
    ),

    latest as (select symbol, max(session) as session from bars group by symbol)

select
    asked.symbol,
    asked.session,
    there.open as first_price,
    case
        when earlier.session < asked.session - 10
        then null
        when earlier.session = asked.previous_session or latest.session >= asked.session
        then earlier.close
    end as close_before,
    if(close_before is null, null, earlier.session) as close_session
from asked
asof left join bars as earlier on earlier.symbol = asked.symbol and earlier.session < asked.session
left join bars as there on there.symbol = asked.symbol and there.session = asked.session
left join latest on latest.symbol = asked.symbol
order by asked.symbol, asked.session
