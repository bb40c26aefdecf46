-- report/runs: the last runs, latest first.
-- grain: run_id
-- params: $most integer
with
    final as (
        select *, count(*) over () as of_runs
        from runs
        order by started_at desc, run_id desc
        limit $most
    )

select *
from final
