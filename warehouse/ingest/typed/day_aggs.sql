-- typed/day_aggs: the rows of one piece of a raw day_aggs file, as ingest/day_aggs makes them of
-- most.
-- grain: one row per line, in the file's order
-- params: $file varchar, $columns struct, $day date
--
-- Read typed, in half the time. It holds where every integer prints as it stood and no field but
-- those of text has a sign that no number needs; whether that is so is proved by `printed_bytes`,
-- the bytes of the fields as they are printed, beside those that the piece has (typed_read.py).
select
    ticker as symbol,
    window_start as timestamp_ns,
    case
        when window_start between 1 and 9223372036854775806 then make_timestamp_ns(window_start)
    end as timestamp,
    try_cast(open as double) as open,
    try_cast(high as double) as high,
    try_cast(low as double) as low,
    try_cast(close as double) as close,
    try_cast(volume as double) as volume,
    null::double as vwap,
    transactions as trades,
    coalesce(
        $day::date, timezone('America/New_York', make_timestamptz(divide(window_start, 1000)))::date
    ) as session,
    case
        when open is not null and try_cast(open as double) is null
        then 'open'
        when high is not null and try_cast(high as double) is null
        then 'high'
        when low is not null and try_cast(low as double) is null
        then 'low'
        when close is not null and try_cast(close as double) is null
        then 'close'
        when volume is not null and try_cast(volume as double) is null
        then 'volume'
    end as malformed,
    coalesce(strlen(ticker), 0)
    + coalesce(strlen(open), 0)
    + coalesce(strlen(high), 0)
    + coalesce(strlen(low), 0)
    + coalesce(strlen(close), 0)
    + coalesce(strlen(volume), 0)
    + case
        when window_start >= 1000000000000000000
        then 19
        else coalesce(strlen(window_start::varchar), 0)
    end
    + coalesce(strlen(transactions::varchar), 0) as printed_bytes
from
    read_csv(
        $file,
        columns = $columns,
        header = true,
        auto_detect = false,
        hive_partitioning = false,
        delim = ',',
        quote = '"',
        escape = '"',
        max_line_size = 1048576
    )
