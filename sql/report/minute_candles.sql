-- report/minute_candles: a symbol's minute_aggs, drawn together until they fit a screen.
-- grain: start_ns
-- params: $symbol varchar, $start date, $end date, $most integer
--
-- $start and $end are sessions, both inclusive. `minutes` is the narrowest width of which there are
-- at most $most candles (else the widest); start_ns and end_ns bound a candle, in nanoseconds UTC.
with
    bars as (
        select epoch_ns(timestamp) as bar_ns, open, high, low, close, volume
        from minute_aggs_of($symbol, $start, $end)
    ),

    widths as (select unnest([1, 2, 5, 10, 15, 30, 60]) as minutes),

    counted as (
        select
            widths.minutes,
            count(distinct divide(bars.bar_ns, widths.minutes * 60000000000)) as candles
        from bars
        cross join widths
        group by widths.minutes
    ),

    chosen as (
        select coalesce(min(minutes) filter (candles <= $most), max(minutes)) as minutes
        from counted
    ),

    candles as (
        select
            chosen.minutes,
            divide(bars.bar_ns, chosen.minutes * 60000000000)
            * chosen.minutes
            * 60000000000 as start_ns,
            arg_min(bars.open, bars.bar_ns) as open,
            max(bars.high) as high,
            min(bars.low) as low,
            arg_max(bars.close, bars.bar_ns) as close,
            round(sum(bars.volume), 6) as volume,
            count(*) as bars
        from bars
        cross join chosen
        group by chosen.minutes, start_ns
    ),

    final as (
        select minutes, start_ns, open, high, low, close, volume, bars
        from candles
        order by start_ns
    )

select *
from final
