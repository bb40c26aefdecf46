-- validate/unknown_trade_conditions: sale conditions that config/trade_conditions.csv does not
-- name.
-- grain: one row per symbol, session and code
-- severity: warning
-- data_types: trades
-- on_ingest: yes
--
-- An unknown condition forbids nothing, so bars take their prices from such trades. Whether they
-- should is to be looked up at the vendor and written into the table. One that the table names is
-- known, also in sessions in which no rule of it is valid.
with
    lists as (select distinct conditions from trades where conditions is not null),

    codes as (select conditions, trim(unnest(string_split(conditions, ','))) as code from lists),

    unknown as (
        select conditions, code
        from codes
        where code <> '' and code not in (select id::varchar from trade_conditions)
    )

select
    trades.symbol,
    trades.session,
    min(trades.timestamp) as timestamp,
    unknown.code,
    count(*) as row_count
from trades
inner join unknown on unknown.conditions = trades.conditions
group by trades.symbol, trades.session, unknown.code
order by trades.symbol, trades.session, unknown.code
