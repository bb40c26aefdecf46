-- features/returns: what each bar's close is to that of the bar before, as a simple and a log
-- return.
-- grain: symbol, timestamp
-- lookback: 1 row
-- freq: minute
-- columns: returns share (0.01 is 1%), log_returns natural logarithm
-- source: Campbell, Lo and MacKinlay (1997), The Econometrics of Financial Markets, sec. 1.4
--
-- The first bar of a session follows the last of the session before, so that its return is that
-- of the night. Prices are as traded: a split or a dividend shows.
with
    closes as (
        select symbol, timestamp, session, case when close > 0 then close end as close from aggs
    ),
    paired as (
        select *, lag(close) over (partition by symbol order by timestamp) as previous_close
        from closes
    ),
    compared as (
        select
            symbol,
            timestamp,
            close / previous_close - 1 as returns,
            ln(close / previous_close) as log_returns,
            session
        from paired
    )
select *
from compared
order by symbol, timestamp
