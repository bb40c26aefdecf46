-- catalog/trades: all trades as a view, and those of one symbol as a table macro.
--
-- The macro opens the symbol's few files by name and answers in milliseconds; the view has to
-- look at the names of all. `first` and `last` are sessions, both inclusive.
create or replace view trades as
select * from read_parquet('data/cache/trades/*/*.parquet');
create or replace macro trades_of(symbol) as table (
    select * from read_parquet('data/cache/trades/' || path_name(symbol) || '/*.parquet')
),
(symbol, first, last) as table (
    select *
    from read_parquet('data/cache/trades/' || path_name(symbol) || '/*.parquet')
    where session between first::date and last::date
);
