-- reference/splits: each split, with whether it counts, and what is odd about it.
-- grain: id
-- params: $small double
--
-- Reads `splits` as the vendor's exports have them, `days` (of each day the first session that
-- is not before it: a split of a Saturday is told of the Monday too), `subjects` (of a symbol
-- and day the security that is meant, where it is known: on the day of a change of symbol it
-- is one under both), `prices` of these (symbol, session, first_price, close_before; NULL:
-- not held) and `held`, the symbols that have rows. A price before the day × price_factor is
-- one of after it. The first that applies is told. Of these none counts: `ratio` (no ratio of
-- two positive numbers), `duplicate` (of an id that comes before it, with the same ratio),
-- `contradictory` (another ratio of the same day that the price speaks for, or that cannot be
-- told from it), `tape` (the price went over the day nearer to as it was than to the ratio).
-- These count: `never held`, `unchecked` (a price of either day is lacking) and `undecided` (a
-- ratio within $small, in logarithms, is less than what a day may bring).
with
    measured as (
        select
            splits.*,
            case when split_from > 0 and split_to > 0 then split_from / split_to end as price_ratio,
            case when split_from > 0 and split_to > 0 then split_to / split_from end as size_ratio,
            coalesce(days.session, execution_date) as session,
            coalesce(subjects.subject, splits.symbol) as subject
        from splits
        left join days on days.day = splits.execution_date
        left join
            subjects on subjects.symbol = splits.symbol and subjects.day = splits.execution_date
    ),

    sound as (
        select
            * exclude (price_ratio, size_ratio),
            case when is_sound then price_ratio end as price_factor,
            case when is_sound then size_ratio end as size_factor
        from
            (
                select
                    *,
                    coalesce(
                        isfinite(price_ratio)
                        and isfinite(size_ratio)
                        and price_ratio > 0
                        and size_ratio > 0,
                        false
                    ) as is_sound
                from measured
            )
    ),

    numbered as (
        select
            *,
            first_value(id) over (
                partition by subject, session, price_factor order by id
            ) as first_id
        from sound
    ),

    compared as (
        select
            numbered.*,
            prices.first_price,
            prices.close_before,
            is_sound and id = first_id as is_candidate,
            ln(price_factor) as expected,
            ln(prices.first_price / prices.close_before) as jump,
            numbered.symbol in (select symbol from held) as is_held
        from numbered
        left join prices on prices.symbol = numbered.symbol and prices.session = numbered.session
    ),

    ranked as (
        select
            *,
            count(*) filter (where is_candidate) over of_day as ratios,
            arg_min(id, struct_pack(distance := abs(jump - expected), id := id)) filter (
                where is_candidate
            ) over of_day as nearest_id,
            arg_min(expected, struct_pack(distance := abs(jump - expected), id := id)) filter (
                where is_candidate
            ) over of_day as nearest
        from compared
        window of_day as (partition by subject, session)
    ),

    rivals as (
        select
            *,
            min(abs(expected - nearest)) filter (where is_candidate and id <> nearest_id) over (
                partition by subject, session
            ) as apart
        from ranked
    ),

    judged as (
        select
            *,
            case
                when not is_sound
                then
                    format(
                        'ratio: {} to {} is no ratio of two positive numbers', split_from, split_to
                    )
                when id <> first_id
                then 'duplicate: of ' || first_id
                when ratios > 1 and jump is null
                then 'contradictory: other ratios are told of the day, and no price decides'
                when ratios > 1 and apart < $small
                then 'contradictory: the price cannot tell it from another ratio of the day'
                when ratios > 1 and id <> nearest_id
                then 'contradictory: the price speaks for ' || nearest_id
                when abs(expected) >= $small and abs(jump - expected) > abs(jump)
                then
                    format(
                        'tape: it opened at {} after {}, and {} for {} would be {}',
                        first_price,
                        close_before,
                        split_to,
                        split_from,
                        round(close_before * price_factor, 4)
                    )
                when not is_held
                then 'never held'
                when jump is null
                then 'unchecked: a price of the day, or of the one before it, is not held'
                when abs(expected) < $small
                then 'undecided: too small to be told from a move of the price'
            end as problem
        from rivals
    )

select
    id,
    symbol,
    execution_date,
    split_from,
    split_to,
    adjustment_type,
    price_factor,
    size_factor,
    coalesce(
        split_part(problem, ':', 1) in ('never held', 'unchecked', 'undecided'), true
    ) as counts,
    problem
from judged
order by symbol, execution_date, id
