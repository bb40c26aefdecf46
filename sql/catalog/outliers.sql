-- catalog/outliers: trades of one symbol whose price stands out in their session, as table macros.
--
-- Nothing is ever deleted for its price: the high of every day would go. Who wants to look at what
-- stands out asks for it, by a quantile of the session's prices or by standard deviations from
-- their mean. `first` and `last` are sessions, both inclusive.
create or replace macro trades_beyond_quantile_of(symbol, first, last, q := 0.9999) as table (
    with
        priced as (
            select
                *,
                quantile_cont(price, q) over (partition by session) as upper_price
            from trades_of(symbol, first, last)
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
            from trades_of(symbol, first, last)
        )
    select *
    from priced
    where abs(price - mean_price) > n * price_deviation
    order by timestamp, sequence_number, id
);
