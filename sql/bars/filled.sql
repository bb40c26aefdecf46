-- bars/filled: time bars, and where nothing was traded the last close carried forward.
-- grain: symbol, session, timestamp, is_bar
-- reads: bars, sessions
-- params: $every_ns bigint, $hours varchar
--
-- From the first bar of the session on, never from a later one back: before it nothing is
-- known. A filled window has the last close as its four prices and no volume; `is_filled` tells
-- it. The grid is that of bars/time; with $hours `extended` or `all` it reaches from 04:00, or
-- the first bar, to four hours after the close. Windows that are no bar (`is_bar` false) stay
-- beside what fills them, so that what was traded in them can be told.
with
    begun as (
        select symbol, session, min(epoch_ns(timestamp)) as first_ns
        from bars
        where is_bar
        group by symbol, session
    ),
    parts as (
        select
            begun.*,
            unnest(
                case
                    $hours
                    when 'regular'
                    then [row(open_ns, close_ns)]
                    when 'extended'
                    then
                        [
                            row(open_ns - 19_800_000_000_000, open_ns),
                            row(close_ns, close_ns + 14_400_000_000_000)
                        ]
                    else
                        [
                            row(open_ns - 19_800_000_000_000, open_ns),
                            row(open_ns, close_ns),
                            row(close_ns, close_ns + 14_400_000_000_000)
                        ]
                end
            ) as part
        from begun
        inner join sessions on sessions.session = begun.session
    ),
    grid as (
        select
            symbol,
            session,
            first_ns,
            part[2] as part_end_ns,
            unnest(range(part[1], part[2], $every_ns)) as begin_ns
        from parts
    ),
    windows as (
        select
            coalesce(grid.symbol, bars.symbol) as symbol,
            coalesce(grid.session, bars.session) as session,
            coalesce(grid.begin_ns, epoch_ns(bars.timestamp)) as begin_ns,
            grid.part_end_ns,
            bars.* exclude (symbol, session, timestamp)
        from (from grid where begin_ns >= first_ns) as grid
        full join
            (from bars where is_bar) as bars
            on bars.symbol = grid.symbol
            and bars.session = grid.session
            and epoch_ns(bars.timestamp) = grid.begin_ns
    ),
    carried as (
        select
            *,
            last_value(close ignore nulls) over (
                partition by symbol, session
                order by begin_ns
                rows between unbounded preceding and current row
            ) as standing
        from windows
    )
select
    symbol,
    make_timestamp_ns(begin_ns) as timestamp,
    coalesce(open, standing) as open,
    coalesce(high, standing) as high,
    coalesce(low, standing) as low,
    coalesce(close, standing) as close,
    coalesce(volume, 0) as volume,
    vwap,
    coalesce(trades, 0) as trades,
    coalesce(dollar_volume, 0) as dollar_volume,
    coalesce(
        end_timestamp, make_timestamp_ns(least(begin_ns + $every_ns, part_end_ns))
    ) as end_timestamp,
    coalesce(is_short, begin_ns + $every_ns > part_end_ns) as is_short,
    coalesce(high_low_barred_trades, 0) as high_low_barred_trades,
    coalesce(high_low_barred_dollars, 0) as high_low_barred_dollars,
    coalesce(open_close_barred_trades, 0) as open_close_barred_trades,
    coalesce(open_close_barred_dollars, 0) as open_close_barred_dollars,
    coalesce(volume_barred_trades, 0) as volume_barred_trades,
    coalesce(volume_barred_dollars, 0) as volume_barred_dollars,
    is_bar is null as is_filled,
    session,
    true as is_bar
from carried
union all by name
select * exclude (is_bar), false as is_filled, is_bar
from bars
where not is_bar
order by symbol, session, timestamp, is_bar
