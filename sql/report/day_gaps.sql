-- report/day_gaps: trading days of which a symbol has no day bar.
-- grain: session
-- params: $symbol varchar, $start date, $end date, $sessions date[], $most integer
--
-- $start and $end are sessions, both inclusive; $sessions are the trading days in between. At most
-- $most, `of_gaps` says how many there are.
with
    bars as (select distinct session from day_aggs_of($symbol, $start, $end)),

    trading_days as (select unnest($sessions::date[]) as session),

    missing as (
        select trading_days.session, count(*) over () as of_gaps
        from trading_days
        anti join bars on trading_days.session = bars.session
    ),

    final as (select * from missing order by session limit $most)

select *
from final
