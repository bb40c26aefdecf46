-- bars/bars: the bars of trades that have a window each.
-- grain: symbol, session, timestamp
-- reads: windowed
--
-- `is_bar` where some trade may set the open and some the high: else no bar is there, and what
-- was traded is told apart. open and close are the first and the last price that may set them,
-- high and low the extremes of those that may; volume, trades, dollar_volume and vwap are of
-- the trades that count. What each rule kept out is counted beside. Shares and dollars are
-- summed as decimals, so that neither threads nor the order of rows have a say in the last
-- digit; a price or size of 10^13 or more does not fit them and is an error. Six decimals of a
-- price and a size count. vwap: both sums exact, one division; NULL where no share counted.
with
    exact as (
        select
            *,
            size::decimal(19, 6) as shares,
            price::decimal(19, 6) * size::decimal(19, 6) as dollars
        from windowed
    ),
    summed as (
        select
            symbol,
            session,
            bar,
            min(begin_ns) as begin_ns,
            max(end_ns) as end_ns,
            bool_or(is_short) as is_short,
            arg_min(price, ordinal) filter (where open_close_barred_by is null) as open,
            max(price) filter (where high_low_barred_by is null) as high,
            min(price) filter (where high_low_barred_by is null) as low,
            arg_max(price, ordinal) filter (where open_close_barred_by is null) as close,
            sum(shares) filter (where volume_barred_by is null) as shares,
            sum(dollars) filter (where volume_barred_by is null) as dollars,
            count(*) filter (where volume_barred_by is null) as trades,
            count(*) filter (where high_low_barred_by is not null) as high_low_trades,
            sum(dollars) filter (where high_low_barred_by is not null) as high_low_dollars,
            count(*) filter (where open_close_barred_by is not null) as open_close_trades,
            sum(dollars) filter (where open_close_barred_by is not null) as open_close_dollars,
            count(*) filter (where volume_barred_by is not null) as volume_trades,
            sum(dollars) filter (where volume_barred_by is not null) as volume_dollars
        from exact
        group by symbol, session, bar
    )
select
    symbol,
    make_timestamp_ns(begin_ns) as timestamp,
    open,
    high,
    low,
    close,
    coalesce(shares, 0)::varchar::double as volume,
    dollars::varchar::double / nullif(shares, 0)::varchar::double as vwap,
    trades::integer as trades,
    coalesce(dollars, 0)::varchar::double as dollar_volume,
    make_timestamp_ns(end_ns) as end_timestamp,
    is_short,
    high_low_trades::integer as high_low_barred_trades,
    coalesce(high_low_dollars, 0)::varchar::double as high_low_barred_dollars,
    open_close_trades::integer as open_close_barred_trades,
    coalesce(open_close_dollars, 0)::varchar::double as open_close_barred_dollars,
    volume_trades::integer as volume_barred_trades,
    coalesce(volume_dollars, 0)::varchar::double as volume_barred_dollars,
    session,
    open is not null and high is not null as is_bar
from summed
order by symbol, session, begin_ns, bar
