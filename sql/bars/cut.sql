-- bars/cut: each trade with its bar, where it is known with which trades bars end.
-- grain: symbol, session, ordinal
-- reads: measured, ends
--
-- The trade that ends a bar is in it as a whole. A trade that does not count in the volume is in
-- the bar that is open when it comes. The last bar of each part of a session is short, unless its
-- last trade ends it. A bar is from its first trade to its last, at which it is known.
with
    marked as (
        select measured.*, (ends.ordinal is not null)::integer as is_end
        from measured
        left join
            ends
            on ends.symbol = measured.symbol
            and ends.session = measured.session
            and ends.ordinal = measured.ordinal
    ),
    numbered as (
        select
            *,
            (
                sum(is_end) over (
                    partition by symbol, session, part
                    order by ordinal
                    rows between unbounded preceding and current row
                )
                - is_end
            )::bigint as place,
            sum(is_end) over (partition by symbol, session, part) as full_bars
        from marked
    )
select
    symbol,
    session,
    -- In the order of time, and none twice in a session.
    place * 4 + part as bar,
    trade_ns as begin_ns,
    trade_ns as end_ns,
    place = full_bars as is_short,
    true as is_first_part,
    ordinal,
    price,
    size,
    high_low_barred_by,
    open_close_barred_by,
    volume_barred_by
from numbered
