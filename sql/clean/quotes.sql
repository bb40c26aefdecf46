-- clean/quotes: every typed row of a piece, with the reason it is rejected for; NULL keeps it.
-- grain: one row per line, in the file's order
-- params: $start bigint, $end bigint, $symbol varchar
--
-- Reads `ingested`, the result of ingest/quotes. $start and $end bound the instants [$start,
-- $end), in nanoseconds, of the file's day in New York, $symbol the one whose own file it is
-- (NULL where a file holds all). A side that nobody quotes has price 0 and size 0: such rows are
-- kept.
select
    symbol,
    timestamp,
    bid_price,
    bid_size,
    ask_price,
    ask_size,
    bid_exchange,
    ask_exchange,
    conditions,
    indicators,
    sequence_number,
    participant_timestamp,
    tape,
    trf_timestamp,
    session,
    case
        when malformed is not null
        then 'malformed_' || malformed
        when symbol is null or symbol = ''
        then 'no_symbol'
        when strlen(symbol) > 64
        then 'symbol_too_long'
        when symbol <> $symbol
        then 'other_symbol'
        when timestamp_ns is null or timestamp_ns = 0
        then 'no_timestamp'
        when timestamp_ns < $start or timestamp_ns >= $end
        then 'outside_session'
        when bid_price is null or ask_price is null
        then 'no_price'
        when bid_size is null or ask_size is null
        then 'no_size'
        when bid_price < 0 or ask_price < 0 or not isfinite(bid_price) or not isfinite(ask_price)
        then 'price_negative'
        when bid_size < 0 or ask_size < 0 or not isfinite(bid_size) or not isfinite(ask_size)
        then 'size_negative'
    end as reason
from ingested
