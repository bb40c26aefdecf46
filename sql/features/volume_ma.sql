-- features/volume_ma: the mean volume of the last bars, and each bar's volume over it.
-- grain: symbol, timestamp
-- params: $periods integer (1 or more) = 20
-- lookback: $periods rows
-- freq: minute
-- columns: volume_ma shares, volume_ratio a multiple of volume_ma
-- source: a simple moving average over $periods bars, the present one included
--
-- The window goes on from one session into the next. NULL until there are $periods bars;
-- volume_ratio also where none of them had a trade. Volumes are summed as decimals, so that the
-- same bars give the same bits wherever the answer begins; a bar of 10^32 shares does not fit them,
-- and is an error that names it.
with
    bars as (
        select
            symbol,
            timestamp,
            volume,
            session,
            coalesce(
                try_cast(volume as decimal(38, 6)),
                -- Not to be cast: DuckDB's error quotes the text.
                case
                    when volume is not null
                    then
                        format(
                            'the bar of {} at {}: {} shares are too many for volume_ma',
                            symbol,
                            timestamp,
                            volume
                        )::decimal(38, 6)
                end
            ) as shares
        from aggs
    ),
    summed as (
        select *, count(shares) over recent as known_bars, sum(shares) over recent as recent_shares
        from bars
        window
            recent as (
                partition by symbol
                order by timestamp rows between $periods - 1 preceding and current row
            )
    ),
    averaged as (
        select
            symbol,
            timestamp,
            volume,
            session,
            case when known_bars = $periods then recent_shares::double / $periods end as volume_ma
        from summed
    ),
    compared as (
        select symbol, timestamp, volume_ma, volume / nullif(volume_ma, 0) as volume_ratio, session
        from averaged
    )
select *
from compared
order by symbol, timestamp
