-- bars/prints: every trade that may have gone into the vendor's bars, numbered in the order of the
-- tape.
-- grain: symbol, session, ordinal
-- reads: trades, rejected
--
-- Those on the tape (bars/tape), and those that are not: kept although they were cancelled or
-- corrected, or rejected for it. `stands` tells them apart.
with
    told as (
        select
            symbol,
            session,
            timestamp,
            participant_timestamp,
            price,
            size,
            exchange,
            conditions,
            sequence_number,
            id,
            coalesce(correction, 0) in (0, 1) as stands
        from trades
        union all
        select
            symbol,
            session,
            timestamp,
            participant_timestamp,
            price,
            size,
            exchange,
            conditions,
            sequence_number,
            id,
            false as stands
        from rejected
    )
select
    * exclude (sequence_number, id),
    row_number() over (
        partition by symbol, session
        order by
            timestamp, sequence_number nulls first, exchange nulls first, id nulls first, stands
    ) as ordinal
from told
