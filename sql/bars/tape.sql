-- bars/tape: the trades that stand, numbered in the order of the tape.
-- grain: symbol, session, ordinal
-- reads: trades
--
-- Only trades as they were made (correction 0 or none) or as they were corrected (1) are the
-- tape, whatever else a warehouse keeps. By the SIP's clock; of trades of one moment by their
-- sequence numbers. Who asks in Python has the rows in this order already and numbers them
-- without a sort.
select
    *,
    row_number() over (
        partition by symbol, session
        order by timestamp, sequence_number nulls first, exchange nulls first, id nulls first
    ) as ordinal
from trades
where coalesce(correction, 0) in (0, 1)
