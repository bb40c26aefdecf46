-- bars/time: each trade with its window of a fixed length.
-- grain: symbol, session, ordinal
-- reads: eligible
-- params: $every_ns bigint, $hours varchar
--
-- Windows are [begin, end), by the SIP's clock. The regular hours, what comes before and what
-- comes after have a grid each, which begins at the open, at 04:00 (five and a half hours
-- earlier; on backwards where trades are earlier yet) and at the close. So no window holds
-- prices of both, and half-days and changes of the clock need nothing of their own. The last
-- window before the open, the close and the evening's end (four hours after the close; there
-- another grid begins) is short where the length does not fit, and so is one that would reach
-- beyond the session's midnights. $hours is regular, extended (before and after) or all.
with
    parted as (
        select
            *,
            case
                when trade_ns < open_ns
                then open_ns - 19_800_000_000_000
                when trade_ns < close_ns
                then open_ns
                when trade_ns < close_ns + 14_400_000_000_000
                then close_ns
                else close_ns + 14_400_000_000_000
            end as part_ns,
            case
                when trade_ns < open_ns
                then open_ns
                when trade_ns < close_ns
                then close_ns
                when trade_ns < close_ns + 14_400_000_000_000
                then close_ns + 14_400_000_000_000
                else next_midnight_ns
            end as part_end_ns
        from eligible
        where $hours = 'all' or is_extended = ($hours = 'extended')
    ),
    placed as (
        select *, trade_ns - ((trade_ns - part_ns) % $every_ns + $every_ns) % $every_ns as grid_ns
        from parted
    ),
    windowed as (
        select
            *,
            greatest(grid_ns, midnight_ns) as begin_ns,
            least(grid_ns + $every_ns, part_end_ns) as end_ns
        from placed
    )
select
    symbol,
    session,
    begin_ns as bar,
    begin_ns,
    end_ns,
    end_ns - begin_ns < $every_ns as is_short,
    true as is_first_part,
    ordinal,
    price,
    size,
    high_low_barred_by,
    open_close_barred_by,
    volume_barred_by
from windowed
