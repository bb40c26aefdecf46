-- bars/shares: how much of each field is equal.
-- grain: symbol, hours, field
-- reads: compared
--
-- `untold`: bars of the vendor's that are not compared, as no trade of the session is here.
select
    symbol,
    hours,
    field,
    count(is_equal) as compared,
    count(*) filter (where is_equal) as equal,
    count(*) filter (where field = 'bar' and is_equal is null) as untold
from compared
group by symbol, hours, field
order by symbol, hours, field
