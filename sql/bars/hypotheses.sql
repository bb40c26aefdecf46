-- bars/hypotheses: how many differences each hypothesis finds, and how many it leaves.
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
            unnest(
                [
                    'bar',
                    'bar_high_low',
                    'bar_open_close',
                    'high',
                    'low',
                    'open',
                    'close',
                    'volume',
                    'trades'
                ]
            ) as field,
            unnest(
                [
                    bar_was,
                    bar_was,
                    bar_was,
                    high_was,
                    low_was,
                    open_was,
                    close_was,
                    volume_was,
                    trades_was
                ]
            ) as was,
            unnest(
                [
                    bar_is,
                    bar_high_low_is,
                    bar_open_close_is,
                    high_is,
                    low_is,
                    open_is,
                    close_is,
                    volume_is,
                    trades_is
                ]
            ) as now
        from judged
    )
select
    hypothesis,
    hours,
    field,
    count(*) filter (where not was) as differences,
    count(*) filter (where not now) as remaining
from fields
group by hypothesis, hours, field
order by hypothesis, hours, field
