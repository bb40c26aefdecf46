-- validate/unpaired_corrections: corrections whose two records are not there in equal numbers.
-- grain: one row per symbol, session and kind of correction
-- severity: warning
-- data_types: trades
-- on_ingest: no
--
-- A cancelled trade (8) is followed by a cancel record (10), an erroneous one (7) by an error
-- record (11), a corrected one (1) by a record of the original (12); on real days they pair
-- exactly. All but 1 are among the rejects. One without the other: a part of the file is missing,
-- or a trade counts that should not.
with
    marked as (
        select symbol, session, timestamp, correction
        from rejects
        where correction in (7, 8, 10, 11, 12) and reason <> 'duplicate'
        union all
        select symbol, session, timestamp, correction
        from trades
        where correction = 1
    ),

    paired as (
        select
            symbol,
            session,
            timestamp,
            case
                when correction in (8, 10)
                then 'cancelled 8 = 10'
                when correction in (7, 11)
                then 'erroneous 7 = 11'
                else 'corrected 1 = 12'
            end as pair,
            correction in (1, 7, 8) as is_trade
        from marked
    )

select
    symbol,
    session,
    min(timestamp) as timestamp,
    pair,
    count(*) filter (is_trade) as trades,
    count(*) filter (not is_trade) as records,
    abs(count(*) filter (is_trade) - count(*) filter (not is_trade)) as row_count
from paired
group by symbol, session, pair
having count(*) filter (is_trade) <> count(*) filter (not is_trade)
order by symbol, session, pair
