-- bars/hypotheses: how many differences each hypothesis makes vanish, and how many arise.
-- grain: hypothesis, hours, field
-- reads: judged
--
-- `differences` are those by the rules as they are, in the windows that the hypothesis touches;
-- elsewhere it changes nothing.
with
    fields as (
        select
            hypothesis,
            hours,
            unnest(['high', 'low', 'open', 'close', 'volume', 'trades']) as field,
            unnest([high_was, low_was, open_was, close_was, volume_was, trades_was]) as was,
            unnest([high_is, low_is, open_is, close_is, volume_is, trades_is]) as now
        from judged
    )
select
    hypothesis,
    hours,
    field,
    count(*) filter (where not was) as differences,
    count(*) filter (where now and not was) as vanished,
    count(*) filter (where was and not now) as arisen
from fields
group by hypothesis, hours, field
order by hypothesis, hours, field
