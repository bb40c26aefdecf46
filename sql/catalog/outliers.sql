-- catalog/outliers: trades of one symbol whose price stands out in their session, as table macros.
--
-- Nothing is ever deleted for its price: the high of every day would go. Who wants to look at what
-- stands out asks for it, by a quantile of the session's prices or by standard deviations from
-- their mean. `first` and `last` are sessions, both inclusive. That a number is one is asked where
-- the files are named, which is before a row is looked at.
create or replace macro is_quantile(q) as case
    when try_cast(q as double) >= 0 and try_cast(q as double) <= 1
    then true
    else error('q := ' || coalesce(q::varchar, 'NULL') || ': it is a number from 0 to 1')
end;
create or replace macro are_deviations(n) as case
    when try_cast(n as double) >= 0 and try_cast(n as double) < 'infinity'::double
    then true
    else
        error('n := ' || coalesce(n::varchar, 'NULL') || ': it is a number of deviations, 0 or more')
end;
create or replace macro trades_beyond_quantile_of(symbol, first, last, q := 0.9999) as table (
    with
        priced as (
            select
                *,
                quantile_cont(price, q::double) over (partition by session) as upper_price
            from trades_of(symbol, case when is_quantile(q) then first end, last)
        )
    select * from priced where price > upper_price order by timestamp, sequence_number, id
);
create or replace macro trades_beyond_deviations_of(symbol, first, last, n := 5) as table (
    with
        priced as (
            select
                *,
                avg(price) over (partition by session) as mean_price,
                stddev_samp(price) over (partition by session) as price_deviation
            from trades_of(symbol, case when are_deviations(n) then first end, last)
        )
    select *
    from priced
    where abs(price - mean_price) > n::double * price_deviation
    order by timestamp, sequence_number, id
);
