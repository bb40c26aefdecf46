-- bars/judged: what each hypothesis would make of the windows that it touches, held against the
-- vendor's bars.
-- grain: hypothesis, symbol, session, bar
-- reads: signatures, hypotheses, aggs
--
-- A hypothesis forbids all that carries one of its `barred` traits, and lifts what its `freed`
-- traits forbid; the empty one is the rules as they are. It touches the windows in which such a
-- trade is, and no others are told; the empty one all. The rules for high and low, for open and
-- close and for the volume are judged apart: `…_was` is whether the field is right by the rules
-- as they are, `…_is` by the hypothesis for that field alone. NULL: nothing to compare with.
-- Where only one side has a bar, its prices are wrong until a rule for them takes it away or
-- makes it. Prices and shares are in millionths.
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
    if(
        theirs.bar is null,
        ruled.high is null or ruled.open is null,
        ruled.high is not distinct from theirs.high
    ) as high_was,
    if(
        theirs.bar is null,
        ruled.low is null or ruled.open is null,
        ruled.low is not distinct from theirs.low
    ) as low_was,
    if(
        theirs.bar is null,
        ruled.high is null or ruled.open is null,
        ruled.open is not distinct from theirs.open
    ) as open_was,
    if(
        theirs.bar is null,
        ruled.high is null or ruled.close is null,
        ruled.close is not distinct from theirs.close
    ) as close_was,
    (ruled.high is not null and ruled.open is not null) = (theirs.bar is not null) as bar_was,
    ruled.volume = theirs.volume as volume_was,
    ruled.trades = theirs.trades as trades_was,
    if(
        theirs.bar is null,
        built.high is null or ruled.open is null,
        built.high is not distinct from theirs.high
    ) as high_is,
    if(
        theirs.bar is null,
        built.low is null or ruled.open is null,
        built.low is not distinct from theirs.low
    ) as low_is,
    if(
        theirs.bar is null,
        ruled.high is null or built.open is null,
        built.open is not distinct from theirs.open
    ) as open_is,
    if(
        theirs.bar is null,
        ruled.high is null or built.close is null,
        built.close is not distinct from theirs.close
    ) as close_is,
    (built.high is not null and built.open is not null) = (theirs.bar is not null) as bar_is,
    built.volume = theirs.volume as volume_is,
    built.trades = theirs.trades as trades_is
from built
inner join windows on windows.place = built.place
inner join ruled on ruled.place = built.place
left join
    theirs
    on theirs.symbol = windows.symbol
    and theirs.session = windows.session
    and theirs.bar = windows.bar
