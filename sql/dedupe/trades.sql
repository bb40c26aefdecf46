-- dedupe/trades: kept rows in the order of the tape, each repeat of an earlier line named in
-- `reason`.
-- grain: one row per kept row
--
-- Reads `kept`: rows of clean/trades whose reason is NULL, with the `line_number` each stood in.
-- Rows equal in full identity (symbol, timestamp, sequence_number, exchange, id) are one event; the
-- first line stands for it. A repeat with other values is told from a plain one.
--
-- Rows come preselected: those that share symbol, session, timestamp and sequence_number with
-- another, all of them together, and those that stood out of order. The rest hold nothing to drop,
-- and do not come. The selection follows the columns by which the windows partition: without
-- sequence_number there, rows that share symbol, session and timestamp come. Symbol and timestamp
-- must be among them.
with
    compared as (
        select
            *,
            row_number() over same_event as occurrence,
            struct_pack(
                price,
                size,
                conditions,
                correction,
                participant_timestamp,
                tape,
                trf_id,
                trf_timestamp
            ) as content,
            first_value(
                struct_pack(
                    price,
                    size,
                    conditions,
                    correction,
                    participant_timestamp,
                    tape,
                    trf_id,
                    trf_timestamp
                )
            ) over same_event as first_content
        from kept
        window
            same_event as (
                partition by symbol, timestamp, sequence_number, exchange, id
                order by line_number nulls first
                rows between unbounded preceding and current row
            )
    )

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
    line_number,
    case
        when occurrence = 1
        then null
        when content is distinct from first_content
        then 'conflicting_duplicate'
        else 'duplicate'
    end as reason
from compared
order by symbol, session, timestamp, sequence_number nulls first, line_number nulls first
