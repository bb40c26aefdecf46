-- catalog/rejects: every row that cleaning refused, of all data types, with its `reason`.
--
-- source, line_number and (where the row could not be typed) line say what stood where; the
-- columns of the row's data type hold what could be read.
create or replace view rejects as
select *
from
    read_parquet(
        'data/rejects/*/*/*.parquet', union_by_name = true, hive_partitioning = false
    );
