-- features/volatility: the volatility of the last bars, by their closes, their ranges, and both.
-- grain: symbol, timestamp
-- params: $periods integer (2 or more) = 20, $periods_a_year double (0 or more) = 252
-- lookback: $periods rows
-- freq: day
-- columns: close_to_close a year, parkinson a year, garman_klass a year
-- source: Parkinson (1980), Journal of Business 53(1), 61-65; Garman and Klass (1980), Journal
-- of Business 53(1), 67-78, practical estimator
--
-- Each is the root of a variance a bar times $periods_a_year (252 days; for minutes 252 x 390).
-- close_to_close: the sample variance (n - 1) of $periods log returns. parkinson: the mean of
-- ln(high/low)² / (4 ln 2). garman_klass: the mean of ln(high/low)² / 2 - (2 ln 2 - 1)
-- ln(close/open)². NULL until there are $periods of them. The latter two leave the nights out.
with
    logs as (
        select
            symbol,
            timestamp,
            session,
            ln(
                case when close > 0 then close end / lag(case when close > 0 then close end) over (
                    partition by symbol order by timestamp
                )
            ) as log_return,
            ln(case when high > 0 then high end / case when low > 0 then low end) as log_range,
            ln(case when close > 0 then close end / case when open > 0 then open end) as log_body
        from aggs
    ),
    terms as (
        select
            *,
            log_range * log_range / (4 * ln(2)) as range_term,
            log_range * log_range / 2 - (2 * ln(2) - 1) * log_body * log_body as body_term
        from logs
    ),
    collected as (
        select
            *,
            count(log_return) over recent as known_returns,
            count(body_term) over recent as known_bars,
            list(log_return) over recent as recent_returns,
            list(range_term) over recent as range_terms,
            list(body_term) over recent as body_terms
        from terms
        window
            recent as (
                partition by symbol
                order by timestamp rows between $periods - 1 preceding and current row
            )
    ),
    measured as (
        -- One list after the other, in its order: moving sums of doubles depend on where they
        -- began.
        select
            symbol,
            timestamp,
            case
                when known_returns = $periods
                then sqrt($periods_a_year) * list_stddev_samp(recent_returns)
            end as close_to_close,
            case
                when known_bars = $periods then sqrt($periods_a_year * list_avg(range_terms))
            end as parkinson,
            case
                when known_bars = $periods
                then sqrt($periods_a_year * greatest(list_avg(body_terms), 0))
            end as garman_klass,
            session
        from collected
    )
select *
from measured
order by symbol, timestamp
