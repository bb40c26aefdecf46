-- validate/duplicate_bars: symbols with the same bars in one session as in the one before.
-- grain: one row per symbol and session
-- severity: error
-- data_types: minute_aggs, day_aggs
-- on_ingest: no
--
-- Equal to the cent, the share and the minute: one of the two is a copy under a wrong date, as the
-- vendor's day_aggs of 2019-08-12 were stamped as those of the 13th. Days on which a price did not
-- move at all may well repeat themselves, and are not told.
with
    described as (
        select
            checked.symbol,
            checked.session,
            min(checked.timestamp) as timestamp,
            count(*) as row_count,
            bit_xor(
                hash(
                    epoch_ns(checked.timestamp) - sessions.open_ns,
                    checked.open,
                    checked.high,
                    checked.low,
                    checked.close,
                    checked.volume
                )
            ) as content,
            max(checked.high) > min(checked.low) as has_moved
        from checked
        inner join sessions on sessions.session = checked.session
        group by checked.symbol, checked.session
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
where row_count = row_count_before and content = content_before and has_moved
order by symbol, session
