-- bars/unknown_conditions: conditions that the table does not know, and how many trades carry each.
-- grain: condition
-- reads: listed, trade_conditions
--
-- They forbid nothing, so whoever asks should know of them. `listed` has each text of conditions
-- once, with the number of its trades.
with
    carried as (
        select trim(unnest(string_split(conditions, ','))) as condition, trades
        from listed
        where conditions is not null
    )
select condition, sum(trades)::bigint as trades
from carried
where condition <> '' and condition not in (select id::varchar from trade_conditions)
group by condition
order by condition
