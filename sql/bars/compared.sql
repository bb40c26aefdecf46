-- bars/compared: our bars beside the vendor's, field by field.
-- grain: symbol, session, bar, field
-- reads: ours, aggs, signatures, sessions
-- params: $every_ns bigint
--
-- A field is compared where both have the bar; `bar` says whether both have it. Equal are prices
-- and volumes that agree in six decimals. Not compared (NULL): what the vendor does not tell, and
-- its bars of sessions without a trade here. `seen` is what the values alone say of a difference:
-- `missing trade data` where the vendor counts more trades or shares than there are here,
-- `rounding` within one unit of the last digit that it prints (0.0001 dollars, one share).
with
    held as (
        select symbol, session, bar, sum(trades) as most_trades, sum(shares) as most_shares
        from signatures
        where
            not list_has_any(
                traits,
                [
                    'minute_joined',
                    'closing_joined',
                    'size_joined',
                    'corrected_joined',
                    'cancelled',
                    'cancel_record',
                    'correction'
                ]
            )
        group by symbol, session, bar
    ),
    known as (select distinct symbol, session from signatures),
    theirs as (select *, epoch_ns(timestamp) as bar from aggs),
    mine as (select *, epoch_ns(timestamp) as bar from ours),
    both_sides as (
        select
            coalesce(mine.symbol, theirs.symbol) as symbol,
            coalesce(mine.session, theirs.session) as session,
            coalesce(mine.bar, theirs.bar) as bar,
            mine.bar is not null as is_here,
            theirs.bar is not null as is_there,
            [mine.open, mine.high, mine.low, mine.close, mine.volume, mine.trades] as here,
            [
                theirs.open, theirs.high, theirs.low, theirs.close, theirs.volume, theirs.trades
            ] as there
        from mine
        full join
            theirs
            on theirs.symbol = mine.symbol
            and theirs.session = mine.session
            and theirs.bar = mine.bar
    ),
    placed as (
        select
            both_sides.*,
            case
                when $every_ns = 0
                then 'all'
                when both_sides.bar >= sessions.open_ns and both_sides.bar < sessions.close_ns
                then 'regular'
                else 'extended'
            end as hours,
            known.symbol is not null as is_known,
            (not is_here and held.most_trades is null)
            or there[6] > held.most_trades
            or there[5] * 1e6 >= held.most_shares + 1e6 as is_short
        from both_sides
        left join sessions on sessions.session = both_sides.session
        left join known on known.symbol = both_sides.symbol and known.session = both_sides.session
        left join
            held
            on held.symbol = both_sides.symbol
            and held.session = both_sides.session
            and held.bar = both_sides.bar
    ),
    fields as (
        select
            * exclude (here, there),
            unnest(['bar', 'open', 'high', 'low', 'close', 'volume', 'trades']) as field,
            unnest([is_here::double] || here) as ours,
            unnest([is_there::double] || there) as theirs
        from placed
    )
select
    symbol,
    session,
    bar,
    hours,
    field,
    ours,
    theirs,
    case when is_known then round(ours * 1e6) = round(theirs * 1e6) end as is_equal,
    case
        when not is_known or is_short
        then 'missing trade data'
        when field in ('open', 'high', 'low', 'close') and abs(ours - theirs) < 0.0001000001
        then 'rounding'
        when field = 'volume' and abs(ours - theirs) < 1
        then 'rounding'
    end as seen
from fields
where field = 'bar' or (is_here and is_there)
order by symbol, session, bar, field
