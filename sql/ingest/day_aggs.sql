-- ingest/day_aggs: the typed rows of one piece of a raw day_aggs file.
-- grain: one row per line, in the file's order
-- params: $file varchar, $columns struct, $day date
--
-- $file is the plain CSV, $columns its header as {name: 'VARCHAR'} in the file's own order, $day
-- its session (NULL where a file holds a month of one symbol: then each row's date in New York).
-- Every field is read as text and cast here: a typed read_csv takes 100.7, 1_000, 1.7e18 and 0123
-- for integers without a word. An integer counts only where it prints as it stood; the first
-- field that does not is named in `malformed`.
with
    typed as (
        select
            ticker as symbol,
            try_cast(window_start as bigint) as timestamp_ns,
            try_cast(open as double) as open,
            try_cast(high as double) as high,
            try_cast(low as double) as low,
            try_cast(close as double) as close,
            try_cast(volume as double) as volume,
            try_cast(transactions as integer) as trades,
            case
                when try_cast(window_start as bigint)::varchar is distinct from window_start
                then 'window_start'
                when
                    open glob '*[!0-9.eE+-]*'
                    or (open is not null and try_cast(open as double) is null)
                then 'open'
                when
                    high glob '*[!0-9.eE+-]*'
                    or (high is not null and try_cast(high as double) is null)
                then 'high'
                when
                    low glob '*[!0-9.eE+-]*'
                    or (low is not null and try_cast(low as double) is null)
                then 'low'
                when
                    close glob '*[!0-9.eE+-]*'
                    or (close is not null and try_cast(close as double) is null)
                then 'close'
                when
                    volume glob '*[!0-9.eE+-]*'
                    or (volume is not null and try_cast(volume as double) is null)
                then 'volume'
                when try_cast(transactions as integer)::varchar is distinct from transactions
                then 'transactions'
            end as malformed
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
    )

select
    symbol,
    timestamp_ns,
    case
        when timestamp_ns between 1 and 9223372036854775806 then make_timestamp_ns(timestamp_ns)
    end as timestamp,
    open,
    high,
    low,
    close,
    volume,
    null::double as vwap,
    trades,
    coalesce(
        $day::date, timezone('America/New_York', make_timestamptz(divide(timestamp_ns, 1000)))::date
    ) as session,
    malformed
from typed
