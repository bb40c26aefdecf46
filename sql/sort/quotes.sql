-- sort/quotes: kept rows in the order of the tape, symbol by symbol.
-- grain: one row per kept row
--
-- Reads `kept`: rows of clean/quotes whose reason is NULL, with the `line_number` each stood in.
-- Only symbols that came back late in their file come here: the others are in order already.
select *
from kept
order by symbol, session, timestamp, sequence_number nulls first, line_number nulls first
