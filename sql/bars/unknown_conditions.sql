-- bars/unknown_conditions: conditions that the table does not know, and how many trades carry each.
-- grain: condition
-- reads: tape, trade_conditions
--
-- They forbid nothing, so whoever asks should know of them.
with
    listed as (
        select conditions, count(*) as trades
        from tape
        where conditions is not null
        group by conditions
    ),
    carried as (select trim(unnest(string_split(conditions, ','))) as condition, trades from listed)
select condition, sum(trades)::bigint as trades
from carried
where condition <> '' and condition not in (select id::varchar from trade_conditions)
group by condition
order by condition
