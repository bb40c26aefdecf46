-- catalog/minute_aggs: all minute_aggs as a view, and those of one symbol as a table macro.
--
-- The macro opens the symbol's few files by name and answers in milliseconds; the view has to
-- look at the names of all. `first` and `last` are sessions, both inclusive.
create or replace view minute_aggs as
select * from read_parquet('data/cache/minute_aggs/*/*.parquet');
create or replace macro minute_aggs_of(symbol) as table (
    select * from read_parquet('data/cache/minute_aggs/' || path_name(symbol) || '/*.parquet')
),
(symbol, first, last) as table (
    select *
    from read_parquet('data/cache/minute_aggs/' || path_name(symbol) || '/*.parquet')
    where session between first::date and last::date
);
