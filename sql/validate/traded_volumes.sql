-- validate/traded_volumes: symbols whose trades come to another volume than their day bar's.
-- grain: one row per symbol and session
-- params: $min_daily_trades integer = 100
-- severity: warning
-- data_types: trades
-- on_ingest: no
--
-- Twice as much or half as much: a part of the trades is missing, or their sizes are wrong, as
-- those of 2015-01-06 and 07 are at the vendor. Only trades that count in a volume, by the rules
-- valid in their session, are added up; the rest of a difference may be corrections that
-- came after one of the files was made.
with
    uncounted as (
        select
            conditions,
            coalesce(valid_from, '0001-01-01') as valid_from,
            coalesce(valid_to, '9999-12-31') as valid_to
        from (select distinct conditions from trades where conditions is not null)
        inner join
            trade_conditions
            on list_contains(
                string_split_regex(trim(conditions), ' *, *'), trade_conditions.id::varchar
            )
        where not updates_volume
    ),

    traded as (
        select symbol, session, sum(size) as traded_volume, count(*) as trades
        from trades
        where
            not exists (
                select 1
                from uncounted
                where
                    uncounted.conditions = trades.conditions
                    and trades.session between uncounted.valid_from and uncounted.valid_to
            )
        group by symbol, session
    )

select
    traded.symbol,
    traded.session,
    day_aggs.timestamp,
    traded.traded_volume,
    day_aggs.volume as day_volume,
    traded.trades
from traded
inner join day_aggs on day_aggs.symbol = traded.symbol and day_aggs.session = traded.session
where
    traded.trades >= $min_daily_trades
    and traded.traded_volume not between 0.5 * day_aggs.volume
    and 2 * day_aggs.volume
order by traded.symbol, traded.session
