-- bars/left_out: trades of a window that are no part of the tape, and why.
-- grain: one row per trade
-- reads: trades, rejected
-- params: $begin_ns bigint, $end_ns bigint
--
-- Those that cleaning rejected, by its reason, and those that a warehouse keeps although they were
-- cancelled or corrected since (corrections other than 0 and 1). The window is [begin, end).
with
    untaped as (
        select *, 'correction ' || correction as left_out
        from trades
        where not coalesce(correction, 0) in (0, 1)
    ),
    refused as (select *, reason as left_out from rejected),
    both_kinds as (
        select timestamp, price, size, exchange, conditions, sequence_number, id, left_out
        from untaped
        union all
        select timestamp, price, size, exchange, conditions, sequence_number, id, left_out
        from refused
    )
select *
from both_kinds
where epoch_ns(timestamp) >= $begin_ns and epoch_ns(timestamp) < $end_ns
order by timestamp, sequence_number nulls first, id nulls first, left_out, price, size
