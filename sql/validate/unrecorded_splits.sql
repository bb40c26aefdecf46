-- validate/unrecorded_splits: symbols whose price jumped overnight as a split would make it.
-- grain: one row per symbol and session
-- severity: warning
-- data_types: day_aggs
-- on_ingest: no
--
-- The vendor's files are not adjusted: every split is such a jump, and returns over it are wrong
-- unless the split is known. Told are opens that stand within three per cent of a usual ratio to
-- the last close, of at most ten days before, once the splits of these days that are loaded (see
-- `warehouse reference load`) and count are taken out. Bad news may look the same.
with
    ratios as (select unnest([1.5, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50, 100]) as ratio),

    pairs as (
        select
            symbol,
            session,
            timestamp,
            open,
            lag(close) over sessions_of_symbol as last_close,
            lag(session) over sessions_of_symbol as last_session
        from day_aggs
        window
            sessions_of_symbol as (
                partition by symbol order by session rows between 1 preceding and current row
            )
    ),

    known as (
        select pairs.symbol, pairs.session, product(splits.price_factor) as price_factor
        from pairs
        inner join
            splits
            on splits.symbol = pairs.symbol
            and splits.execution_date > pairs.last_session
            and splits.execution_date <= pairs.session
        where splits.counts
        group by pairs.symbol, pairs.session
    ),

    jumps as (
        select pairs.*, pairs.last_close * coalesce(known.price_factor, 1) as due
        from pairs
        left join known on known.symbol = pairs.symbol and known.session = pairs.session
    )

select
    jumps.symbol,
    jumps.session,
    jumps.timestamp,
    jumps.last_session,
    jumps.last_close,
    jumps.open,
    case
        when jumps.open < jumps.due
        then rtrim(rtrim(ratios.ratio::varchar, '0'), '.') || ' for 1'
        else '1 for ' || rtrim(rtrim(ratios.ratio::varchar, '0'), '.')
    end as looks_like
from jumps
inner join ratios on abs(abs(ln(jumps.open / jumps.due)) - ln(ratios.ratio)) < 0.03
where jumps.session - jumps.last_session <= 10
order by jumps.symbol, jumps.session, ratios.ratio
