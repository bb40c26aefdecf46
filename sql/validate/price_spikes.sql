-- validate/price_spikes: trades far from the prices just before and after them.
-- grain: one row per trade
-- params: $max_spike_std double = 3, $min_spike_share double = 0.005
-- severity: warning
-- data_types: trades
-- on_ingest: no
--
-- Brownlees and Gallo, Financial econometric analysis at ultra-high frequency: Data handling
-- concerns, Computational Statistics & Data Analysis 51 (2006): a price p is kept where
-- |p - mean(k)| < 3 s(k) + gamma, with the trimmed mean and deviation of its k neighbours. Here k
-- is 60 of the same symbol and session, without the trade itself, of which a tenth is trimmed;
-- gamma is min_spike_share of the price, for s is zero where neighbours are all alike. Asked are
-- trades of the regular hours that may set a high or a low, by the rules valid in their session.
-- Neighbours are looked at only of prices that are gamma away from one beside them: one that is
-- not is no spike of its own.
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

    regular as (
        select
            trades.symbol,
            trades.session,
            trades.timestamp,
            trades.sequence_number,
            trades.price,
            trades.size,
            trades.exchange,
            trades.conditions,
            row_number() over tape as place,
            lag(trades.price) over tape as price_before,
            lead(trades.price) over tape as price_after
        from trades
        inner join sessions on sessions.session = trades.session
        where
            epoch_ns(trades.timestamp) between sessions.open_ns and sessions.close_ns - 1
            and not exists (
                select 1
                from unfit
                where
                    unfit.conditions = trades.conditions
                    and trades.session between unfit.valid_from and unfit.valid_to
            )
        window
            tape as (
                partition by trades.symbol, trades.session
                order by trades.timestamp, trades.sequence_number
                rows between unbounded preceding and unbounded following
            )
    ),

    jumping as (
        select *, unnest(range(place - 30, place + 31)) as near_place
        from regular
        where
            greatest(abs(price - price_before), abs(price - price_after)) > $min_spike_share * price
    ),

    surrounded as (
        select
            jumping.symbol,
            jumping.session,
            jumping.timestamp,
            jumping.sequence_number,
            jumping.price,
            jumping.size,
            jumping.exchange,
            jumping.conditions,
            list_sort(list(near.price)) as neighbours
        from jumping
        inner join
            regular as near
            on near.symbol = jumping.symbol
            and near.session = jumping.session
            and near.place = jumping.near_place
        where jumping.near_place <> jumping.place
        group by all
    ),

    trimmed as (
        select
            *,
            neighbours[
                1
                + round(len(neighbours) / 20)::bigint:len(neighbours)
                - round(len(neighbours) / 20)::bigint
            ] as kept
        from surrounded
    )

select
    symbol,
    session,
    timestamp,
    price,
    size,
    exchange,
    conditions,
    sequence_number,
    list_avg(kept) as neighbours_mean,
    list_stddev_samp(kept) as neighbours_deviation
from trimmed
where
    len(kept) >= 10
    and abs(price - list_avg(kept))
    >= $max_spike_std * list_stddev_samp(kept) + $min_spike_share * price
order by symbol, session, timestamp, sequence_number
