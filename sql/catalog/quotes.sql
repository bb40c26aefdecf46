-- catalog/quotes: all quotes as a view, and those of one symbol as a table macro.
--
-- The macro opens the symbol's few files and answers in milliseconds. The view has to look at the
-- names of all; of a symbol with files of its own `symbol` is that of the path, so that a filter on
-- it opens no file in vain. Of a session that all symbols share `session` is that of the path, with
-- the same effect; in its files a filter on `symbol` passes over most of the rows.
-- Which files these are catalog/files says. `first` and `last` are sessions, both inclusive. With
-- adjust := 'splits' or 'all' prices and sizes are those of the session `as_of`, or else of
-- `last`: see catalog/adjustment. Rows are those under the symbol that is named: the macro follows
-- no renames, for `securities`, which knows them, cannot say which files to open.
create or replace view quotes as
select * exclude (filename) replace (url_decode(parse_path(filename)[-2]) as symbol)
from read_parquet(quotes_files(), filename = true, hive_partitioning = false)
where is_in_place() and parse_path(filename)[-2] <> 'market'
union all
select * exclude (filename) replace (session_of_file(filename) as session)
from
    read_parquet(
        quotes_market_files('0001-01-01', '9999-12-31'), filename = true, hive_partitioning = false
    )
where is_in_place();
create or replace macro quotes_of(symbol) as table (
    select *
    from read_parquet(quotes_files_of(symbol), hive_partitioning = false)
    where is_in_place() and is_the_only_one()
    union all
    select *
    from
        read_parquet(
            quotes_market_files(symbol, '0001-01-01', '9999-12-31'), hive_partitioning = false
        ) as shared
    where shared.symbol = symbol and is_in_place() and is_the_only_one()
),
(symbol, first, last) as table (
    select *
    from read_parquet(quotes_files_of(symbol), hive_partitioning = false)
    where
        session between first::date and last::date
        and is_in_place()
        and is_the_only_one()
    union all
    select *
    from read_parquet(quotes_market_files(symbol, first, last), hive_partitioning = false) as shared
    where
        shared.symbol = symbol
        and session between first::date and last::date
        and is_in_place()
        and is_the_only_one()
),
(symbol, first, last, adjust, as_of := null) as table (
    select
        traded.* replace (
            bid_price * coalesce(price_factor, 1) as bid_price,
            ask_price * coalesce(price_factor, 1) as ask_price,
            bid_size * coalesce(size_factor, 1) as bid_size,
            ask_size * coalesce(size_factor, 1) as ask_size
        )
    from
        (
            select *
            from read_parquet(quotes_files_of(symbol), hive_partitioning = false)
            where
                session between first::date and last::date
                and is_in_place()
                and is_the_only_one()
            union all
            select *
            from read_parquet(quotes_market_files(symbol, first, last), hive_partitioning = false) as shared
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
