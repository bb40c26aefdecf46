-- report/restatements: sessions whose file the vendor replaced after it was published, latest
-- first.
-- grain: source, earlier_sha256, restated_at
-- params: $start date, $end date, $most integer
--
-- $start and $end are sessions, both inclusive; NULL is open. At most $most; `of_restatements` says
-- how many there are.
with
    inside as (
        select *, count(*) over () as of_restatements
        from restatements
        where day >= coalesce($start::date, day) and day <= coalesce($end::date, day)
    ),

    final as (select * from inside order by restated_at desc, source limit $most)

select *
from final
