-- validate/sequence_repeats: rows of a symbol that bear the same sequence number in a session.
-- grain: one row per symbol, session and number
-- severity: error
-- data_types: trades, quotes
-- on_ingest: no
--
-- The vendor's numbers are unique to a symbol and session. Copies of a line were rejected when it
-- came in, so these are two rows of different content that claim one place on the tape.
select
    symbol,
    session,
    min(timestamp) as timestamp,
    sequence_number,
    max(timestamp) as last_timestamp,
    count(*) - 1 as row_count
from checked
where sequence_number > 0
group by symbol, session, sequence_number
having count(*) > 1
order by symbol, session, sequence_number
