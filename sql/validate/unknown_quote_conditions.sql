-- validate/unknown_quote_conditions: codes that config/quote_conditions.csv does not name.
-- severity: warning
-- data_types: quotes
-- grain: one row per symbol, session and code
-- params:
-- on_ingest: yes
--
-- What a condition that nobody knows says of its quote, nobody knows: it may not be one to trade
-- against. Indicators have no table, and are not asked about.
with
    lists as (
        select symbol, session, conditions, min(timestamp) as timestamp, count(*) as row_count
        from quotes
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
where codes.code not in (select id::varchar from quote_conditions)
group by lists.symbol, lists.session, codes.code
order by lists.symbol, lists.session, codes.code
