-- validate/unknown_quote_conditions: codes that config/quote_conditions.csv does not name.
-- grain: one row per symbol, session and code
-- severity: warning
-- data_types: quotes
-- on_ingest: yes
--
-- What a condition that nobody knows says of its quote, nobody knows: it may not be one to trade
-- against. Indicators have no table, and are not asked about.
with
    lists as (select distinct conditions from quotes where conditions is not null),

    codes as (select conditions, trim(unnest(string_split(conditions, ','))) as code from lists),

    unknown as (
        select conditions, code
        from codes
        where code <> '' and code not in (select id::varchar from quote_conditions)
    )

select
    quotes.symbol,
    quotes.session,
    min(quotes.timestamp) as timestamp,
    unknown.code,
    count(*) as row_count
from quotes
inner join unknown on unknown.conditions = quotes.conditions
group by quotes.symbol, quotes.session, unknown.code
order by quotes.symbol, quotes.session, unknown.code
