-- catalog/corporate_actions: splits, dividends and names, as `warehouse reference load` kept them.
--
-- Each row says whether it counts, and what is odd about it: see sql/reference. `actions` has what
-- an adjustment rests on, a row for each split and dividend: prices of sessions before `session`
-- are multiplied by `price_factor`, sizes by `size_factor`. What does not count is never applied.
-- In `securities` a symbol was a security's from `first_session` to `last_session`, both
-- inclusive, NULL where it still is.
create or replace view splits as
select *
from read_parquet(splits_files(), hive_partitioning = false)
where is_in_place();
create or replace view dividends as
select *
from read_parquet(dividends_files(), hive_partitioning = false)
where is_in_place();
create or replace view securities as
select *
from read_parquet(securities_files(), hive_partitioning = false)
where is_in_place();
create or replace view actions as
select
    symbol,
    execution_date as session,
    'split' as kind,
    id,
    split_from,
    split_to,
    price_factor,
    size_factor,
    counts,
    problem
from read_parquet(splits_files(), hive_partitioning = false)
where is_in_place()
union all
select
    symbol,
    ex_date as session,
    'dividend' as kind,
    id,
    null::double as split_from,
    null::double as split_to,
    price_factor,
    1::double as size_factor,
    counts,
    problem
from read_parquet(dividends_files(), hive_partitioning = false)
where is_in_place();
