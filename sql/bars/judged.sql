-- bars/judged: what each hypothesis would make of the windows that it touches, held against the
-- vendor's bars.
-- grain: hypothesis, symbol, session, bar
-- reads: signatures, hypotheses, aggs
--
-- A hypothesis forbids all that carries one of its `barred` traits, and lifts what its `freed`
-- traits forbid; the empty one is the rules as they are. It touches the windows in which such a
-- trade is, and no others are told; the empty one all. The rules for high and low, for open and
-- close, for the volume and for the number of trades are judged apart: `…_was` is whether the
-- field is right by the rules as they are, `…_is` by the hypothesis. NULL: only one side has the
-- bar. `bar` is whether both or none have it, with the hypothesis for high and low, for open and
-- close, or for both. Prices and shares are in millionths.
with
    sketches as (
        select *, concat_ws('/', traits, range_by, ends_by, volume_by) as sketch from signatures
    ),
    kinds as (
        select
            row_number() over (order by sketch) as kind,
            sketch,
            any_value(traits) as traits,
            any_value(range_by) as range_by,
            any_value(ends_by) as ends_by,
            any_value(volume_by) as volume_by
        from sketches
        group by sketch
    ),
    windows as (
        select
            row_number() over (order by symbol, session, bar) as place,
            symbol,
            session,
            bar,
            any_value(hours) as hours
        from signatures
        group by symbol, session, bar
    ),
    rows_of as (
        select
            windows.place,
            kinds.kind,
            sketches.first_price,
            sketches.first_ordinal,
            sketches.last_price,
            sketches.last_ordinal,
            sketches.high_price,
            sketches.low_price,
            sketches.shares,
            sketches.trades
        from sketches
        inner join kinds on kinds.sketch = sketches.sketch
        inner join
            windows
            on windows.symbol = sketches.symbol
            and windows.session = sketches.session
            and windows.bar = sketches.bar
    ),
    verdicts as (
        select
            hypotheses.hypothesis,
            kinds.kind,
            list_has_any(kinds.traits, hypotheses.barred || hypotheses.freed) as is_touched,
            not list_has_any(kinds.traits, hypotheses.barred) as is_left,
            is_left and list_has_all(hypotheses.freed, kinds.range_by) as sets_range,
            is_left and list_has_all(hypotheses.freed, kinds.ends_by) as sets_ends,
            is_left and list_has_all(hypotheses.freed, kinds.volume_by) as counts
        from kinds
        cross join hypotheses
    ),
    touched as (
        select distinct verdicts.hypothesis, rows_of.place
        from verdicts
        inner join rows_of on rows_of.kind = verdicts.kind
        where verdicts.is_touched
        union
        select hypotheses.hypothesis, windows.place
        from hypotheses
        cross join windows
        where len(hypotheses.barred || hypotheses.freed) = 0
    ),
    built as (
        select
            touched.hypothesis,
            touched.place,
            max(high_price) filter (where sets_range) as high,
            min(low_price) filter (where sets_range) as low,
            arg_min(first_price, first_ordinal) filter (where sets_ends) as open,
            arg_max(last_price, last_ordinal) filter (where sets_ends) as close,
            coalesce(sum(shares) filter (where counts), 0)::bigint as volume,
            coalesce(sum(trades) filter (where counts), 0)::bigint as trades
        from touched
        inner join rows_of on rows_of.place = touched.place
        inner join
            verdicts on verdicts.hypothesis = touched.hypothesis and verdicts.kind = rows_of.kind
        group by touched.hypothesis, touched.place
    ),
    ruled as (
        select
            rows_of.place,
            max(high_price) filter (where range_by = []) as high,
            min(low_price) filter (where range_by = []) as low,
            arg_min(first_price, first_ordinal) filter (where ends_by = []) as open,
            arg_max(last_price, last_ordinal) filter (where ends_by = []) as close,
            coalesce(sum(shares) filter (where volume_by = []), 0)::bigint as volume,
            coalesce(sum(trades) filter (where volume_by = []), 0)::bigint as trades
        from rows_of
        inner join kinds on kinds.kind = rows_of.kind
        group by rows_of.place
    ),
    theirs as (
        select
            symbol,
            session,
            epoch_ns(timestamp) as bar,
            round(open * 1e6)::bigint as open,
            round(high * 1e6)::bigint as high,
            round(low * 1e6)::bigint as low,
            round(close * 1e6)::bigint as close,
            round(volume * 1e6)::bigint as volume,
            trades::bigint as trades
        from aggs
    )
select
    built.hypothesis,
    windows.symbol,
    windows.session,
    windows.bar,
    windows.hours,
    (ruled.high is not null and ruled.open is not null) as is_here,
    (theirs.bar is not null) as is_there,
    is_here = is_there as bar_was,
    case when is_here and is_there then ruled.high = theirs.high end as high_was,
    case when is_here and is_there then ruled.low = theirs.low end as low_was,
    case when is_here and is_there then ruled.open = theirs.open end as open_was,
    case when is_here and is_there then ruled.close = theirs.close end as close_was,
    case when is_here and is_there then ruled.volume = theirs.volume end as volume_was,
    case when is_here and is_there then ruled.trades = theirs.trades end as trades_was,
    (built.high is not null and built.open is not null) = is_there as bar_is,
    (built.high is not null and ruled.open is not null) = is_there as bar_high_low_is,
    (ruled.high is not null and built.open is not null) = is_there as bar_open_close_is,
    built.high = theirs.high as high_is,
    built.low = theirs.low as low_is,
    built.open = theirs.open as open_is,
    built.close = theirs.close as close_is,
    case when is_here then built.volume = theirs.volume end as volume_is,
    case when is_here then built.trades = theirs.trades end as trades_is
from built
inner join windows on windows.place = built.place
inner join ruled on ruled.place = built.place
left join
    theirs
    on theirs.symbol = windows.symbol
    and theirs.session = windows.session
    and theirs.bar = windows.bar
