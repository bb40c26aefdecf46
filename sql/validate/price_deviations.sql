-- validate/price_deviations: trades further from the mean of their session than so many deviations.
-- grain: one row per trade
-- params: $max_price_deviation_std double = 5
-- severity: warning
-- data_types: trades
-- on_ingest: yes
--
-- Standard deviations of all prices of the session. Where the price moves the whole trend is spread
-- out, and a wrong price hides in it; where it rests, or falls at once, good prices stand out.
-- price_spikes asks about the neighbours instead. Only trades that may set a high or a low, by
-- the rules valid in their session, are told: what has its price from elsewhere (an average, a
-- prior reference) says so itself.
with
    unfit as (
        select
            conditions,
            coalesce(valid_from, '0001-01-01') as valid_from,
            coalesce(valid_to, '9999-12-31') as valid_to
        from (select distinct conditions from trades where conditions is not null)
        inner join
            trade_conditions
            on list_contains(
                string_split_regex(trim(conditions), ' *, *'), trade_conditions.id::varchar
            )
        where not updates_high_low
    ),

    spread as (
        select symbol, session, avg(price) as mean_price, stddev_samp(price) as deviation
        from trades
        group by symbol, session
        -- Most have none so far away, and need not be gone through again.
        having
            greatest(max(price) - avg(price), avg(price) - min(price))
            > $max_price_deviation_std * stddev_samp(price)
    )

select
    trades.symbol,
    trades.session,
    trades.timestamp,
    trades.price,
    trades.size,
    trades.conditions,
    spread.mean_price,
    abs(trades.price - spread.mean_price) / spread.deviation as deviations
from trades
inner join spread on spread.symbol = trades.symbol and spread.session = trades.session
where
    abs(trades.price - spread.mean_price) > $max_price_deviation_std * spread.deviation
    and not exists (
        select 1
        from unfit
        where
            unfit.conditions = trades.conditions
            and trades.session between unfit.valid_from and unfit.valid_to
    )
order by trades.symbol, trades.session, trades.timestamp, trades.price
