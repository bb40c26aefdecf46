-- bars/auctions: day bars with the official prices of the opening and the closing auction.
-- grain: symbol, session
-- reads: bars, eligible
--
-- The listing exchange prints them: NYSE (10) of tape A, Nasdaq (12) of tape C, of tape B NYSE
-- Arca (11), or else NYSE American (1) or Cboe BZX (19). Others print an official price of
-- their own for the same symbol. Open: its official open (16), or else its opening print (25,
-- 17). Close: its last corrected close (38), or else its official close (15), or else its
-- closing print (8, 19). NULL where it printed none. They set nothing in the bar itself.
with
    marked as (
        select
            symbol,
            session,
            ordinal,
            price,
            trim(unnest(string_split(conditions, ','))) as condition,
            list_position(
                case tape when 1 then [10] when 2 then [11, 1, 19] when 3 then [12] end,
                exchange::integer
            ) as listing
        from eligible
        where regexp_matches(conditions, '(^|,) *(8|15|16|17|19|25|38) *(,|$)')
    ),
    ranked as (
        select
            symbol,
            session,
            price,
            listing,
            list_position(['16', '25', '17'], condition) as opening,
            list_position(['38', '15', '8', '19'], condition) as closing,
            case when condition = '38' then - ordinal else ordinal end as place
        from marked
        where listing > 0
    ),
    official as (
        select
            symbol,
            session,
            arg_min(price, row(listing, opening, place)) filter (
                where opening > 0
            ) as official_open,
            arg_min(price, row(listing, closing, place)) filter (
                where closing > 0
            ) as official_close
        from ranked
        group by symbol, session
    )
select
    bars.* exclude (session, is_bar),
    official.official_open,
    official.official_close,
    bars.session,
    bars.is_bar
from bars
left join official on official.symbol = bars.symbol and official.session = bars.session
order by bars.symbol, bars.session
