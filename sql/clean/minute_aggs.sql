-- clean/minute_aggs: every typed row of a piece, with the reason it is rejected for; NULL keeps
-- it.
-- grain: one row per line, in the file's order
-- params: $start bigint, $end bigint, $symbol varchar
--
-- Reads `ingested`, the result of ingest/minute_aggs. $start and $end bound the instants [$start,
-- $end), in nanoseconds, of the file's day in New York, $symbol the one whose own file it is
-- (NULL where a file holds all). A bar of a minute begins with one. Bars of volume 0 and no
-- transactions exist: they are kept.
select
    symbol,
    timestamp,
    open,
    high,
    low,
    close,
    volume,
    vwap,
    trades,
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
        when timestamp_ns % 60000000000 <> 0
        then 'not_full_minute'
        when open is null or high is null or low is null or close is null
        then 'no_price'
        when volume is null
        then 'no_volume'
        when
            least(open, high, low, close) <= 0
            or not (isfinite(open) and isfinite(high) and isfinite(low) and isfinite(close))
        then 'price_not_positive'
        when volume < 0 or not isfinite(volume)
        then 'volume_negative'
        when trades < 0
        then 'trades_negative'
    end as reason
from ingested
