-- report/day_candles: a symbol's day_aggs, drawn together until they fit a screen.
-- grain: session
-- params: $symbol varchar, $start date, $end date, $most integer
--
-- $start and $end are sessions, both inclusive. `unit` (day, week or month) is the narrowest of
-- which there are at most $most candles (else the widest); `session` is a candle's first.
with
    bars as (
        select session, open, high, low, close, volume from day_aggs_of($symbol, $start, $end)
    ),

    units as (select * from (values ('day', 1), ('week', 7), ('month', 31)) as t(unit, days)),

    counted as (
        select
            units.unit, units.days, count(distinct date_trunc(units.unit, bars.session)) as candles
        from bars
        cross join units
        group by units.unit, units.days
    ),

    chosen as (
        select coalesce(arg_min(unit, days) filter (candles <= $most), arg_max(unit, days)) as unit
        from counted
    ),

    candles as (
        select
            any_value(chosen.unit) as unit,
            min(bars.session) as session,
            arg_min(bars.open, bars.session) as open,
            max(bars.high) as high,
            min(bars.low) as low,
            arg_max(bars.close, bars.session) as close,
            round(sum(bars.volume), 6) as volume,
            count(*) as bars
        from bars
        cross join chosen
        group by date_trunc(chosen.unit, bars.session)
    ),

    final as (select * from candles order by session)

select *
from final
