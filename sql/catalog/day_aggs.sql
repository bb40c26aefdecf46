-- catalog/day_aggs: all day_aggs as a view, and those of one symbol as a table macro.
--
-- The macro opens the symbol's few files and answers in milliseconds. The view has to look at the
-- names of all; of a symbol with files of its own `symbol` is that of the path, so that a filter on
-- it opens no file in vain. In a file that all symbols share a filter passes over most of the rows.
-- Which files these are catalog/files says. `first` and `last` are sessions, both inclusive. With
-- adjust := 'splits' or 'all' prices and sizes are those of the session `as_of`, or else of
-- `last`: see catalog/adjustment. Rows are those under the symbol that is named: the macro follows
-- no renames, for `securities`, which knows them, cannot say which files to open.
create or replace view day_aggs as
select * exclude (filename) replace (url_decode(parse_path(filename)[-2]) as symbol)
from read_parquet(day_aggs_files(), filename = true, hive_partitioning = false)
where is_in_place() and parse_path(filename)[-2] <> 'market'
union all
select *
from read_parquet(day_aggs_market_files('0001-01-01', '9999-12-31'), hive_partitioning = false)
where is_in_place();
create or replace macro day_aggs_of(symbol) as table (
    select *
    from read_parquet(day_aggs_files_of(symbol), hive_partitioning = false)
    where is_in_place() and is_the_only_one()
    union all
    select *
    from
        read_parquet(
            day_aggs_market_files(symbol, '0001-01-01', '9999-12-31'), hive_partitioning = false
        ) as shared
    where shared.symbol = symbol and is_in_place() and is_the_only_one()
),
(symbol, first, last) as table (
    select *
    from read_parquet(day_aggs_files_of(symbol), hive_partitioning = false)
    where
        session between first::date and last::date
        and is_in_place()
        and is_the_only_one()
    union all
    select *
    from read_parquet(day_aggs_market_files(symbol, first, last), hive_partitioning = false) as shared
    where
        shared.symbol = symbol
        and session between first::date and last::date
        and is_in_place()
        and is_the_only_one()
),
(symbol, first, last, adjust, as_of := null) as table (
    select
        traded.* replace (
            open * coalesce(price_factor, 1) as open,
            high * coalesce(price_factor, 1) as high,
            low * coalesce(price_factor, 1) as low,
            close * coalesce(price_factor, 1) as close,
            vwap * coalesce(price_factor, 1) as vwap,
            volume * coalesce(size_factor, 1) as volume
        )
    from
        (
            select *
            from read_parquet(day_aggs_files_of(symbol), hive_partitioning = false)
            where
                session between first::date and last::date
                and is_in_place()
                and is_the_only_one()
            union all
            select *
            from read_parquet(day_aggs_market_files(symbol, first, last), hive_partitioning = false) as shared
            where
                shared.symbol = symbol
                and session between first::date and last::date
                and is_in_place()
                and is_the_only_one()
        ) as traded
    left join
        factors_of(symbol, adjust, coalesce(as_of, last)::date) as factors
        on traded.session >= factors.first_session
        and traded.session < factors.until_session
    where is_adjustment(adjust, as_of, last)
);
