-- bars/classes: what each difference is due to, as far as some rule makes it vanish.
-- grain: symbol, session, bar, field
-- reads: differences, judged, candidates
--
-- Of the candidates that give the vendor's very value the first counts. A candidate is asked of
-- its `hours` and `fields` only; whether a bar is there may be asked of its rules for high and
-- low, or for open and close, alone. Where none does, the class is what the values alone say,
-- or else `unexplained`.
with
    explained as (
        select
            hypothesis,
            symbol,
            session,
            bar,
            hours,
            unnest(
                ['bar', 'bar', 'bar', 'high', 'low', 'open', 'close', 'volume', 'trades']
            ) as field,
            unnest(
                [
                    'bar',
                    'bar_high_low',
                    'bar_open_close',
                    'high',
                    'low',
                    'open',
                    'close',
                    'volume',
                    'trades'
                ]
            ) as way,
            unnest(
                [
                    bar_was,
                    bar_was,
                    bar_was,
                    high_was,
                    low_was,
                    open_was,
                    close_was,
                    volume_was,
                    trades_was
                ]
            ) as was,
            unnest(
                [
                    bar_is,
                    bar_high_low_is,
                    bar_open_close_is,
                    high_is,
                    low_is,
                    open_is,
                    close_is,
                    volume_is,
                    trades_is
                ]
            ) as now
        from judged
    ),
    first_of as (
        select
            explained.symbol,
            explained.session,
            explained.bar,
            explained.field,
            arg_min(candidates.class, candidates.place) as class,
            arg_min(candidates.cause, candidates.place) as cause
        from explained
        inner join
            candidates
            on candidates.hypothesis = explained.hypothesis
            and coalesce(candidates.hours = explained.hours, true)
            and list_contains(candidates.fields, explained.way)
        where explained.now and not explained.was
        group by explained.symbol, explained.session, explained.bar, explained.field
    )
select
    differences.symbol,
    differences.session,
    differences.bar,
    differences.hours,
    differences.field,
    differences.ours,
    differences.theirs,
    case
        coalesce(first_of.class, differences.seen, 'unexplained')
        when 'fractional size'
        then
            if(
                differences.session < '2026-02-23',
                'fractional size before 2026-02-23',
                'fractional size since 2026-02-23'
            )
        else coalesce(first_of.class, differences.seen, 'unexplained')
    end as class,
    first_of.cause
from differences
left join
    first_of
    on first_of.symbol = differences.symbol
    and first_of.session = differences.session
    and first_of.bar = differences.bar
    and first_of.field = differences.field
order by differences.symbol, differences.session, differences.bar, differences.field
