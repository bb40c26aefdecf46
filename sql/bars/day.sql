-- bars/day: each trade with its session as the window.
-- grain: symbol, session, ordinal
-- reads: eligible
-- params: $hours varchar
--
-- A day's window is [midnight, midnight) in New York, so that the volume of the pre-market is
-- in it. $hours as in bars/time: with `regular` the closing auction, printed after the close,
-- is out.
select
    symbol,
    session,
    midnight_ns as bar,
    midnight_ns as begin_ns,
    next_midnight_ns as end_ns,
    false as is_short,
    ordinal,
    price,
    size,
    high_low_barred_by,
    open_close_barred_by,
    volume_barred_by
from eligible
where $hours = 'all' or is_extended = ($hours = 'extended')
