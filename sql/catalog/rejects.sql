-- catalog/rejects: every row that cleaning refused, of all data types, with its `reason`.
--
-- source, line_number and (where the row could not be typed) line say what stood where; the
-- columns of the row's data type hold what could be read. Which files these are catalog/files says.
create or replace view rejects as
select *
from read_parquet(rejects_files(), union_by_name = true, hive_partitioning = false)
where is_in_place();
