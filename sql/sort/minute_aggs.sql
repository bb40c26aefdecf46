-- sort/minute_aggs: kept rows in the order of time, symbol by symbol.
-- grain: one row per kept row
--
-- Reads `kept`: rows of clean/minute_aggs whose reason is NULL, with the `line_number` each stood
-- in. Only rows that are out of order, and more than fit into memory, come here: the others are put
-- in the same order as they come. It is the order of every partition, and cannot be another.
select * from kept order by symbol, session, timestamp, line_number nulls first
