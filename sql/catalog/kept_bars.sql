-- catalog/kept_bars: bars_1m, as bars that are kept: all as a view, those of one symbol as a macro.
--
-- For each length that bars are kept in it is run once, with that name in the place of `bars_1m`.
-- As of the vendor's data types: the macro opens the symbol's few files; of a symbol with files of
-- its own the view's `symbol` is that of the path. `first` and `last` are sessions, both inclusive.
-- Which files these are is filled in when a catalog is made, as catalog/files says: here, none. The
-- macro has the bars under the symbol that is named: it follows no renames.
create or replace macro bars_1m_names() as '';
create or replace macro bars_1m_market_names() as '';
create or replace macro bars_1m_market_symbols() as '';
create or replace macro bars_1m_files() as files_named('bars_1m', bars_1m_names());
create or replace macro bars_1m_files_of(of_symbol) as
    files_named_of('bars_1m', bars_1m_names(), bars_1m_market_symbols(), of_symbol);
create or replace macro bars_1m_market_files(first, last) as
    market_files_named('bars_1m', bars_1m_market_names(), null, first, last),
(of_symbol, first, last) as
    market_files_named('bars_1m', bars_1m_market_names(), of_symbol, first, last);
create or replace view bars_1m as
select * exclude (filename) replace (url_decode(parse_path(filename)[-2]) as symbol)
from read_parquet(bars_1m_files(), filename = true, hive_partitioning = false)
where is_in_place() and parse_path(filename)[-2] <> 'market'
union all
select *
from read_parquet(bars_1m_market_files('0001-01-01', '9999-12-31'), hive_partitioning = false)
where is_in_place();
create or replace macro bars_1m_of(symbol) as table (
    select *
    from read_parquet(bars_1m_files_of(symbol), hive_partitioning = false)
    where is_in_place() and is_the_only_one()
    union all
    select *
    from
        read_parquet(
            bars_1m_market_files(symbol, '0001-01-01', '9999-12-31'), hive_partitioning = false
        ) as shared
    where shared.symbol = symbol and is_in_place() and is_the_only_one()
),
(symbol, first, last) as table (
    select *
    from read_parquet(bars_1m_files_of(symbol), hive_partitioning = false)
    where
        session between first::date and last::date
        and is_in_place()
        and is_the_only_one()
    union all
    select *
    from read_parquet(bars_1m_market_files(symbol, first, last), hive_partitioning = false) as shared
    where
        shared.symbol = symbol
        and session between first::date and last::date
        and is_in_place()
        and is_the_only_one()
);
