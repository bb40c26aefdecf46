-- validate/unknown_trade_conditions: sale conditions that config/trade_conditions.csv does not
-- name.
-- severity: warning
-- data_types: trades
-- grain: one row per symbol, session and code
-- params:
-- on_ingest: yes
--
-- An unknown condition forbids nothing, so bars take their prices from such trades. Whether they
-- should is to be looked up at the vendor and written into the table.
with
    lists as (
        select symbol, session, conditions, min(timestamp) as timestamp, count(*) as row_count
        from trades
        where conditions is not null
        group by symbol, session, conditions
    ),

    codes as (
        select conditions, unnest(string_split(conditions, ',')) as code
        from (select distinct conditions from lists)
    )

select
    lists.symbol,
    lists.session,
    min(lists.timestamp) as timestamp,
    codes.code,
    sum(lists.row_count)::bigint as row_count
from lists
inner join codes on codes.conditions = lists.conditions
where codes.code not in (select id::varchar from trade_conditions)
group by lists.symbol, lists.session, codes.code
order by lists.symbol, lists.session, codes.code
