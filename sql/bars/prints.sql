-- bars/prints: every trade that may have gone into the vendor's bars, in the order of the tape.
-- grain: symbol, session, ordinal
-- reads: trades, rejected
--
-- Those on the tape (bars/tape), and those that are not: kept although they were cancelled or
-- corrected, or rejected for it. `left_out` tells these: `cancelled` (corrections 7 and 8),
-- `cancel_record` (10, 11), `corrected_joined` (12: the data before a correction; the trade of
-- the tape that carries what it was corrected to is `corrected_left`), else `correction`.
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
            coalesce(correction, 0) as correction,
            sequence_number,
            id
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
            correction,
            sequence_number,
            id
        from rejected
    )
select
    * exclude (correction, sequence_number, id),
    case
        when correction in (7, 8)
        then 'cancelled'
        when correction in (10, 11)
        then 'cancel_record'
        when correction = 12
        then 'corrected_joined'
        when correction not in (0, 1)
        then 'correction'
    end as left_out,
    correction = 1 as is_corrected,
    row_number() over (
        partition by symbol, session
        order by
            timestamp,
            sequence_number nulls first,
            exchange nulls first,
            id nulls first,
            correction,
            price,
            size
    ) as ordinal
from told
