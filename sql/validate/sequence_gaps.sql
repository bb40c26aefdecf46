-- validate/sequence_gaps: stretches of sequence numbers that a busy symbol is missing from.
-- grain: one row per gap; `timestamp` is the row before it
-- params: $min_daily_trades integer = 100
-- severity: warning
-- data_types: trades, quotes
-- on_ingest: no
--
-- The vendor numbers all messages of a channel, which many symbols share: within one symbol the
-- numbers have holes always, and one that is missing tells nothing. What tells is a hole in which,
-- as the channel went on, a hundred rows of the symbol were due: rows are lost, or it was halted.
-- Symbols with fewer than min_daily_trades rows are not asked about.
with
    numbered as (
        select
            symbol,
            session,
            timestamp,
            sequence_number,
            lead(sequence_number) over following as next_number,
            lead(timestamp) over following as next_timestamp,
            count(*) over whole as rows_of_session,
            max(sequence_number) over whole - min(sequence_number) over whole as numbers
        from checked
        where sequence_number > 0
        window
            following as (
                partition by symbol, session
                order by sequence_number, timestamp
                rows between current row and 1 following
            ),
            whole as (
                partition by symbol, session
                rows between unbounded preceding and unbounded following
            )
    )

select
    symbol,
    session,
    timestamp,
    next_timestamp,
    sequence_number,
    next_number,
    (next_number - sequence_number) * rows_of_session / numbers as rows_due,
    rows_of_session
from numbered
where
    rows_of_session >= $min_daily_trades
    and (next_number - sequence_number) * rows_of_session > 100 * numbers
order by symbol, session, sequence_number, timestamp
