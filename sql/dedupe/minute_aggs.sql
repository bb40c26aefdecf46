-- dedupe/minute_aggs: kept rows in the order of the tape, each repeat of an earlier line named in
-- `reason`.
-- grain: one row per kept row
--
-- Reads `kept`: rows of clean/minute_aggs whose reason is NULL, with the `line_number` each stood
-- in. Rows equal in full identity (symbol, timestamp) are one event; the first line stands for it.
-- A repeat with other values is told from a plain one.
--
-- Rows come preselected: those that share symbol, session and timestamp with another, all of them
-- together, and those that stood out of order. The rest hold nothing to drop, and do not come.
-- Symbol and timestamp must be among the columns by which the windows partition.
with
    compared as (
        select
            *,
            row_number() over same_event as occurrence,
            struct_pack(open, high, low, close, volume, vwap, trades) as content,
            first_value(struct_pack(open, high, low, close, volume, vwap, trades)) over same_event
            as first_content
        from kept
        window
            same_event as (
                partition by symbol, timestamp
                order by line_number nulls first
                rows between unbounded preceding and current row
            )
    )

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
    line_number,
    case
        when occurrence = 1
        then null
        when content is distinct from first_content
        then 'conflicting_duplicate'
        else 'duplicate'
    end as reason
from compared
order by symbol, session, timestamp, line_number nulls first
