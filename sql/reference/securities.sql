-- reference/securities: each symbol that a security bore, with the last day on which it did.
-- grain: security, symbol, first_session
--
-- Reads `borne`: from which day on a security bore a symbol. It ends the day before the security
-- bears another, or another security bears the symbol: tickers are reused, and nothing else says
-- when one that is no more was given up. NULL: it is borne still.
select
    security,
    symbol,
    first_session,
    least(
        lead(first_session) over (partition by security order by first_session, symbol),
        lead(first_session) over (partition by symbol order by first_session, security)
    )
    - 1 as last_session,
    name
from borne
order by security, first_session, symbol
