-- reference/dividends: each dividend, with its factor, whether it counts, and what is odd about it.
-- grain: id
--
-- Reads `dividends` as the vendor's exports have them, `splits` as reference/splits judged them,
-- `days`, `subjects`, `prices` and `held`, as there. A price before the ex-date, times
-- `price_factor`, gives a return over that day that holds the cash: 1 - cash / close before. After
-- a split that counts, on the day or since the close, the cash is of new shares, and the close is
-- made one; of several dividends of a day the next one's close is less the cash of those before
-- it, so that together they are 1 - their sum / close. `close_before` is as it traded. The first
-- that applies is told, and none of these count: `duplicate` (of an id that comes before it, with
-- the same cash), `cash` (not positive, or no less than the close), `currency` (not USD: nothing
-- is guessed), `never held` and `no close` (within ten days before).
with
    dated as (
        select
            dividends.*,
            coalesce(days.session, ex_date) as session,
            coalesce(subjects.subject, dividends.symbol) as subject
        from dividends
        left join days on days.day = dividends.ex_date
        left join
            subjects on subjects.symbol = dividends.symbol and subjects.day = dividends.ex_date
    ),

    shared as (
        select
            splits.price_factor,
            coalesce(days.session, splits.execution_date) as session,
            coalesce(subjects.subject, splits.symbol) as subject
        from splits
        left join days on days.day = splits.execution_date
        left join
            subjects on subjects.symbol = splits.symbol and subjects.day = splits.execution_date
        where splits.counts
    ),

    priced as (
        select
            dated.*,
            prices.close_before,
            -- from the first session after the close on
            coalesce(prices.close_session + 1, dated.session) as since
        from dated
        left join prices on prices.symbol = dated.symbol and prices.session = dated.session
    ),

    factors as (
        select priced.id, product(shared.price_factor) as price_factor
        from priced
        inner join
            shared
            on shared.subject = priced.subject
            and shared.session >= priced.since
            and shared.session <= priced.session
        group by priced.id
    ),

    numbered as (
        select
            priced.*,
            close_before * coalesce(factors.price_factor, 1) as new_close,
            symbol in (select symbol from held) as is_held,
            first_value(priced.id) over (
                partition by subject, session, cash_amount, currency order by priced.id
            ) as first_id
        from priced
        left join factors on factors.id = priced.id
    ),

    judged as (
        select
            *,
            case
                when id <> first_id
                then 'duplicate: of ' || first_id
                when cash_amount <= 0
                then format('cash: {} is not positive', cash_amount)
                when currency is distinct from 'USD'
                then 'currency: ' || coalesce(currency, 'none') || ' is not USD'
                when not is_held and close_before is null
                then 'never held'
                when close_before is null
                then 'no close: none is held of the session before the ex-date'
                when cash_amount >= new_close
                then format('cash: {} is no less than the close before, {}', cash_amount, new_close)
            end as problem
        from numbered
    ),

    in_order as (
        select
            *,
            new_close - coalesce(
                sum(cash_amount) filter (where problem is null) over (
                    partition by subject, session
                    order by id
                    rows between unbounded preceding and 1 preceding
                ),
                0
            ) as remaining
        from judged
    )

select
    id,
    symbol,
    ex_date,
    declaration_date,
    record_date,
    pay_date,
    cash_amount,
    currency,
    frequency,
    distribution_type,
    close_before,
    case
        when problem is null and cash_amount < remaining then 1 - cash_amount / remaining
    end as price_factor,
    problem is null and cash_amount < remaining as counts,
    case
        when problem is null and cash_amount >= remaining
        then 'cash: with others of the day it is no less than the close before'
        else problem
    end as problem
from in_order
order by symbol, ex_date, id
