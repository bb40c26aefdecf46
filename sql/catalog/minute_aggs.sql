-- catalog/minute_aggs: all minute_aggs as a view, and those of one symbol as a table macro.
--
-- The macro opens the symbol's few files and answers in milliseconds. The view has to look at the
-- names of all; its `symbol` is that of the path, so that a filter on it opens no file in vain.
-- Which files these are catalog/files says. `first` and `last` are sessions, both inclusive.
create or replace view minute_aggs as
select * exclude (filename) replace (url_decode(parse_path(filename)[-2]) as symbol)
from read_parquet(minute_aggs_files(), filename = true, hive_partitioning = false)
where is_in_place();
create or replace macro minute_aggs_of(symbol) as table (
    select *
    from read_parquet(minute_aggs_files_of(symbol), hive_partitioning = false)
    where is_in_place() and is_the_only_one()
),
(symbol, first, last) as table (
    select *
    from read_parquet(minute_aggs_files_of(symbol), hive_partitioning = false)
    where session between first::date and last::date and is_in_place() and is_the_only_one()
);
