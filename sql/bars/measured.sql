-- bars/measured: the trades of the hours asked, and what each adds to a bar that is counted.
-- grain: symbol, session, ordinal
-- reads: eligible
-- params: $by varchar, $hours varchar
--
-- `measure` is one trade, or millionths of a share or of a dollar, by what $by begins with (tick,
-- volume, dollar); 0 of a trade that does not count in the volume. The regular hours, what comes
-- before and what comes after are a `part` each, and counting begins anew with each: as of time
-- bars, no bar holds prices of two. $hours is regular, extended (before and after) or all.
select
    symbol,
    session,
    case when trade_ns < open_ns then 0 when trade_ns < close_ns then 1 else 2 end as part,
    ordinal,
    trade_ns,
    price,
    size,
    high_low_barred_by,
    open_close_barred_by,
    volume_barred_by,
    case
        when volume_barred_by is not null
        then 0::bigint
        when $by like 'tick%'
        then 1::bigint
        when $by like 'volume%'
        then (size::decimal(19, 6) * 1_000_000)::bigint
        else ((price::decimal(19, 6) * size::decimal(19, 6))::decimal(38, 6) * 1_000_000)::bigint
    end as measure
from eligible
where $hours = 'all' or is_extended = ($hours = 'extended')
