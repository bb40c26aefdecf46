-- typed/quotes: the rows of one piece of a raw quotes file, as ingest/quotes makes them of most.
-- grain: one row per line, in the file's order
-- params: $file varchar, $columns struct, $day date
--
-- Read typed, in half the time. It holds where every integer prints as it stood and no field but
-- those of text has a sign that no number needs; whether that is so is proved by `printed_bytes`,
-- the bytes of the fields as they are printed, beside those that the piece has (typed_read.py).
select
    ticker as symbol,
    sip_timestamp as timestamp_ns,
    case
        when sip_timestamp between 1 and 9223372036854775806 then make_timestamp_ns(sip_timestamp)
    end as timestamp,
    try_cast(bid_price as double) as bid_price,
    try_cast(bid_size as double) as bid_size,
    try_cast(ask_price as double) as ask_price,
    try_cast(ask_size as double) as ask_size,
    bid_exchange,
    ask_exchange,
    conditions,
    indicators,
    sequence_number,
    case
        when participant_timestamp between 1 and 9223372036854775806
        then make_timestamp_ns(participant_timestamp)
    end as participant_timestamp,
    tape,
    case
        when trf_timestamp between 1 and 9223372036854775806 then make_timestamp_ns(trf_timestamp)
    end as trf_timestamp,
    $day::date as session,
    case
        when bid_price is not null and try_cast(bid_price as double) is null
        then 'bid_price'
        when bid_size is not null and try_cast(bid_size as double) is null
        then 'bid_size'
        when ask_price is not null and try_cast(ask_price as double) is null
        then 'ask_price'
        when ask_size is not null and try_cast(ask_size as double) is null
        then 'ask_size'
        when participant_timestamp not between 0 and 9223372036854775806
        then 'participant_timestamp'
        when trf_timestamp not between 0 and 9223372036854775806
        then 'trf_timestamp'
    end as malformed,
    coalesce(strlen(ticker), 0)
    + coalesce(strlen(conditions), 0)
    + coalesce(strlen(indicators), 0)
    + coalesce(strlen(bid_price), 0)
    + coalesce(strlen(bid_size), 0)
    + coalesce(strlen(ask_price), 0)
    + coalesce(strlen(ask_size), 0)
    + case
        when sip_timestamp >= 1000000000000000000
        then 19
        else coalesce(strlen(sip_timestamp::varchar), 0)
    end
    + case
        when participant_timestamp >= 1000000000000000000
        then 19
        else coalesce(strlen(participant_timestamp::varchar), 0)
    end
    + case
        when trf_timestamp >= 1000000000000000000
        then 19
        else coalesce(strlen(trf_timestamp::varchar), 0)
    end
    + coalesce(strlen(sequence_number::varchar), 0)
    + coalesce(strlen(bid_exchange::varchar), 0)
    + coalesce(strlen(ask_exchange::varchar), 0)
    + coalesce(strlen(tape::varchar), 0) as printed_bytes
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
