-- ingest/trades: the typed rows of one piece of a raw trades file.
-- grain: one row per line, in the file's order
-- params: $file varchar, $columns struct, $day date
--
-- $file is the plain CSV, $columns its header as {name: 'VARCHAR'} in the file's own order, $day
-- its session. Every field is read as text and cast here: a typed read_csv takes 100.7, 1_000,
-- 1.7e18 and 0123 for integers without a word. An integer counts only where it prints as it
-- stood; the first field that does not is named in `malformed`. DuckDB has no instants beyond
-- ±9223372036854775806 ns.
with
    typed as (
        select
            ticker as symbol,
            try_cast(sip_timestamp as bigint) as timestamp_ns,
            try_cast(price as double) as price,
            try_cast(size as double) as size,
            try_cast(exchange as smallint) as exchange,
            conditions,
            try_cast(correction as tinyint) as correction,
            id,
            try_cast(sequence_number as bigint) as sequence_number,
            try_cast(participant_timestamp as bigint) as participant_ns,
            try_cast(tape as tinyint) as tape,
            try_cast(trf_id as smallint) as trf_id,
            try_cast(trf_timestamp as bigint) as trf_ns,
            case
                when try_cast(sip_timestamp as bigint)::varchar is distinct from sip_timestamp
                then 'sip_timestamp'
                when
                    price glob '*[!0-9.eE+-]*'
                    or (price is not null and try_cast(price as double) is null)
                then 'price'
                when
                    size glob '*[!0-9.eE+-]*'
                    or (size is not null and try_cast(size as double) is null)
                then 'size'
                when try_cast(exchange as smallint)::varchar is distinct from exchange
                then 'exchange'
                when try_cast(correction as tinyint)::varchar is distinct from correction
                then 'correction'
                when try_cast(sequence_number as bigint)::varchar is distinct from sequence_number
                then 'sequence_number'
                when
                    try_cast(participant_timestamp as bigint)::varchar
                    is distinct from participant_timestamp
                    or try_cast(participant_timestamp as bigint) not between 0
                    and 9223372036854775806
                then 'participant_timestamp'
                when try_cast(tape as tinyint)::varchar is distinct from tape
                then 'tape'
                when try_cast(trf_id as smallint)::varchar is distinct from trf_id
                then 'trf_id'
                when
                    try_cast(trf_timestamp as bigint)::varchar is distinct from trf_timestamp
                    or try_cast(trf_timestamp as bigint) not between 0
                    and 9223372036854775806
                then 'trf_timestamp'
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
    price,
    size,
    exchange,
    conditions,
    correction,
    id,
    sequence_number,
    case
        when participant_ns between 1 and 9223372036854775806 then make_timestamp_ns(participant_ns)
    end as participant_timestamp,
    tape,
    trf_id,
    case
        when trf_ns between 1 and 9223372036854775806 then make_timestamp_ns(trf_ns)
    end as trf_timestamp,
    $day::date as session,
    malformed
from typed
