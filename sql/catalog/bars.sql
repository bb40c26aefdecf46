-- catalog/bars: what the macros of bars are told, read and checked.
--
-- The macros themselves are made from the statements of sql/bars. They rest on the rules of
-- `trade_conditions` and on `sessions`, the regular hours of each session of which there are rows:
-- instants are nanoseconds UTC, [open_ns, close_ns), and midnights are New York's. A day that the
-- exchange's calendar does not have stands there with the usual hours. They are of the trades under
-- the symbol that is named, as traded: none of them adjusts, and none follows renames.
create or replace table sessions (
    session date not null,
    -- in New York, nanoseconds UTC: where it begins, and where it ends
    midnight_ns bigint not null,
    next_midnight_ns bigint not null,
    -- of the regular hours: the first instant, and the first one after them
    open_ns bigint not null,
    close_ns bigint not null,
    -- it closes early
    is_half_day boolean not null
);
create or replace macro bar_hours(of_text) as case
    when of_text in ('regular', 'extended', 'all')
    then of_text
    else
        error(
            'hours := '
            || coalesce('''' || of_text || '''', 'NULL')
            || ': it is regular, extended or all'
        )
end;
-- Nanoseconds of a length such as 30s, 5m or 1h.
create or replace macro bar_length(of_text) as case
    when
        regexp_matches(of_text, '^[1-9][0-9]{0,5}[smh]$')
        and left(of_text, -1)::bigint
        * case right(of_text, 1) when 's' then 1 when 'm' then 60 else 3600 end
        <= 86_400
    then
        left(of_text, -1)::bigint
        * case right(of_text, 1) when 's' then 1 when 'm' then 60 else 3600 end
        * 1_000_000_000
    else
        error(
            'every := '
            || coalesce('''' || of_text || '''', 'NULL')
            || ': it is a length such as 30s, 5m or 1h, no longer than a day (of whole days ask'
            || ' day_bars_of)'
        )
end;
create or replace macro bar_kind(of_text) as case
    when regexp_matches(of_text, '^(tick|volume|dollar)(_imbalance|_run)?$')
    then of_text
    else
        error(
            'kind := '
            || coalesce('''' || of_text || '''', 'NULL')
            || ': it is tick, volume or dollar, or one of them with _imbalance or _run'
        )
end;
create or replace macro bar_amount(of_kind, of_amount) as case
    when
        of_amount between 0.000001 and 1e12
        and (of_kind in ('volume', 'dollar') or of_amount = floor(of_amount))
    then of_amount::double
    else
        error(
            'every := '
            || coalesce(of_amount::varchar, 'NULL')
            || ': of '
            || of_kind
            || ' bars it is a number from 0.000001 to 10^12, whole unless of shares or dollars'
        )
end;
create or replace macro bar_excess(of_text) as case
    when of_text in ('next', 'split', 'drop')
    then of_text
    else
        error(
            'excess := '
            || coalesce('''' || of_text || '''', 'NULL')
            || ': it is next, split or drop'
        )
end;
create or replace macro bar_span(of_bars) as case
    when of_bars between 1 and 10_000
    then of_bars::integer
    else
        error(
            'span := '
            || coalesce(of_bars::varchar, 'NULL')
            || ': it is a number of bars from 1 to 10000'
        )
end;
