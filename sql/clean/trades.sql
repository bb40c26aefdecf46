-- clean/trades: every typed row of a piece, with the reason it is rejected for; NULL keeps it.
-- grain: one row per line, in the file's order
-- params: $corrections integer[], $start bigint, $end bigint, $symbol varchar
--
-- Reads `ingested`, the result of ingest/trades. $symbol is the one whose own file it is (NULL
-- where a file holds all). $start and $end bound the instants [$start, $end), in nanoseconds, of
-- the file's day in New York, $corrections are the correction codes that are kept.
select
    symbol,
    timestamp,
    price,
    size,
    exchange,
    conditions,
    correction,
    id,
    sequence_number,
    participant_timestamp,
    tape,
    trf_id,
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
        when price is null
        then 'no_price'
        when size is null
        then 'no_size'
        -- Each record of a correction is named by what it says, so that the pairs 7/11, 8/10 and
        -- 1/12 can be counted among the rejects.
        when not list_contains($corrections, coalesce(correction, 0))
        then
            case
                correction
                when 7
                then 'erroneous'
                when 8
                then 'cancelled'
                when 10
                then 'cancel_record'
                when 11
                then 'error_record'
                when 12
                then 'correction_record'
                else 'correction_' || correction
            end
        when price <= 0 or not isfinite(price)
        then 'price_not_positive'
        when size < 0 or not isfinite(size)
        then 'size_negative'
    end as reason
from ingested
