-- bars/eligible: what each trade of the tape may do to a bar, and the condition that forbids it.
-- grain: symbol, session, ordinal
-- reads: tape, sessions, trade_conditions
-- params: $form_t_sets_extended boolean
--
-- A trade may set high and low, set open and close, or count in the volume where every
-- condition that it carries allows just that, by the rules valid in its session. An unknown
-- condition forbids nothing. Each `…_barred_by` is the lowest condition that forbids it; NULL:
-- it may. Form T (12) sets no price within the regular hours, whatever the table says, and none
-- of a day's bar. Outside of the hours it forbids no price where $form_t_sets_extended: most of
-- what is traded then carries it.
with
    listed as (select distinct session, conditions from tape where conditions is not null),
    carried as (
        select session, conditions, trim(unnest(string_split(conditions, ','))) as condition
        from listed
    ),
    ruled as (
        select
            carried.session,
            carried.conditions,
            rule.id,
            rule.updates_high_low and rule.id <> 12 as sets_high_low,
            rule.updates_open_close and rule.id <> 12 as sets_open_close,
            rule.updates_volume as counts
        from carried
        inner join
            trade_conditions as rule
            on rule.id::varchar = carried.condition
            and carried.session >= coalesce(rule.valid_from, '0001-01-01')
            and carried.session <= coalesce(rule.valid_to, '9999-12-31')
    ),
    barring as (
        select
            session,
            conditions,
            min(id) filter (where not sets_high_low) as high_low_by,
            min(id) filter (where not sets_open_close) as open_close_by,
            min(id) filter (where not counts) as volume_by,
            min(id) filter (where not sets_high_low and id <> 12) as extended_high_low_by,
            min(id) filter (where not sets_open_close and id <> 12) as extended_open_close_by
        from ruled
        group by session, conditions
    ),
    placed as (
        select
            tape.*,
            epoch_ns(tape.timestamp) as trade_ns,
            sessions.midnight_ns,
            sessions.next_midnight_ns,
            sessions.open_ns,
            sessions.close_ns,
            not (
                epoch_ns(tape.timestamp) >= sessions.open_ns
                and epoch_ns(tape.timestamp) < sessions.close_ns
            ) as is_extended
        from tape
        inner join sessions on sessions.session = tape.session
    )
select
    placed.*,
    case
        when placed.is_extended and $form_t_sets_extended
        then barring.extended_high_low_by
        else barring.high_low_by
    end as high_low_barred_by,
    case
        when placed.is_extended and $form_t_sets_extended
        then barring.extended_open_close_by
        else barring.open_close_by
    end as open_close_barred_by,
    barring.volume_by as volume_barred_by
from placed
left join barring on barring.session = placed.session and barring.conditions = placed.conditions
