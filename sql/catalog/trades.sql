-- catalog/trades: all trades as a view, and those of one symbol as a table macro.
--
-- The macro opens the symbol's few files by name and answers in milliseconds. The view has to
-- look at the names of all; its `symbol` is that of the path, so that a filter on it opens no
-- file in vain, and its columns are those of a file without rows, so that a damaged partition
-- does not keep the view from being made. `first` and `last` are sessions, both inclusive.
create or replace view trades as
select * exclude (filename) replace (url_decode(parse_path(filename)[-2]) as symbol)
from
    read_parquet(
        ['data/schema/trades.parquet', 'data/cache/trades/*/*.parquet'],
        filename = true,
        hive_partitioning = false
    );
create or replace macro trades_of(symbol) as table (
    select *
    from
        read_parquet(
            'data/cache/trades/' || path_name(symbol) || '/*.parquet', hive_partitioning = false
        )
),
(symbol, first, last) as table (
    select *
    from
        read_parquet(
            'data/cache/trades/' || path_name(symbol) || '/*.parquet', hive_partitioning = false
        )
    where session between first::date and last::date
);
