-- validate/duplicate_quotes: symbols with the same quotes in one session as in the one before.
-- grain: one row per symbol and session
-- params: $min_daily_trades integer = 100
-- severity: error
-- data_types: quotes
-- on_ingest: no
--
-- Equal in prices, sizes and time of day to the nanosecond: one of the two is a copy under a wrong
-- date. A few quotes may repeat themselves by chance, min_daily_trades of them do not.
with
    described as (
        select
            quotes.symbol,
            quotes.session,
            min(quotes.timestamp) as timestamp,
            count(*) as row_count,
            bit_xor(
                hash(
                    epoch_ns(quotes.timestamp) - sessions.open_ns,
                    quotes.bid_price,
                    quotes.bid_size,
                    quotes.ask_price,
                    quotes.ask_size
                )
            ) as content
        from quotes
        inner join sessions on sessions.session = quotes.session
        group by quotes.symbol, quotes.session
    ),

    compared as (
        select
            *,
            lag(session) over sessions_of_symbol as same_as,
            lag(row_count) over sessions_of_symbol as row_count_before,
            lag(content) over sessions_of_symbol as content_before
        from described
        window
            sessions_of_symbol as (
                partition by symbol order by session rows between 1 preceding and current row
            )
    )

select symbol, session, timestamp, same_as, row_count
from compared
where row_count = row_count_before and content = content_before and row_count >= $min_daily_trades
order by symbol, session
