-- features/realized_variance: the session's realised variance so far, and what of it jumps do
-- not explain.
-- grain: symbol, timestamp
-- lookback: session
-- columns: realized_variance squared log return, bipower_variation squared log return,
-- jump_variation squared log return
-- source: Barndorff-Nielsen and Shephard (2004), Power and bipower variation with stochastic
-- volatility and jumps, Journal of Financial Econometrics 2(1), 1-37
--
-- Over the minute bars of the session, extended hours too: realized_variance is the sum of r²,
-- bipower_variation pi/2 times the sum of |r||r before|, jump_variation what the first is over
-- the second, 0 where it is not. r is the log return from close to close, of the first bar from
-- its open. A minute without a bar is passed over. A bar's stamp is the minute's start: the row
-- is known at its end. Sums are of decimals to 24 places; prices whose ratio is no number do not
-- fit them, and are an error that names the bar.
with
    returned as (
        select
            *,
            ln(
                case when close > 0 then close end / coalesce(
                    lag(case when close > 0 then close end) over bars,
                    case when open > 0 then open end
                )
            ) as log_return
        from minute_aggs
        window bars as (partition by symbol, session order by timestamp)
    ),
    paired as (
        select
            *,
            coalesce(
                try_cast(log_return * log_return as decimal(38, 24)),
                -- Not to be cast: DuckDB's error quotes the text.
                case
                    when log_return is not null
                    then
                        format(
                            'the bar of {} at {}: the return to {} is no number',
                            symbol,
                            timestamp,
                            close
                        )::decimal(38, 24)
                end
            ) as squared,
            try_cast(
                abs(log_return) * abs(
                    lag(log_return) over (partition by symbol, session order by timestamp)
                ) as decimal(38, 24)
            ) as product
        from returned
    ),
    summed as (
        select
            symbol,
            timestamp,
            session,
            (sum(squared) over so_far)::double as realized_variance,
            pi() / 2 * coalesce(sum(product) over so_far, 0)::double as bipower_variation
        from paired
        window
            so_far as (
                partition by symbol, session
                order by timestamp
                rows between unbounded preceding and current row
            )
    ),
    split as (
        select
            symbol,
            timestamp,
            realized_variance,
            bipower_variation,
            greatest(realized_variance - bipower_variation, 0) as jump_variation,
            session
        from summed
    )
select *
from split
order by symbol, timestamp
