-- bars/vwaps: the vwap of each of the vendor's bars, filled from the trades where it has none.
-- grain: place
-- reads: aggs, bars
--
-- What the vendor says stands. Else it is that of the trades that count in the bar's window, be
-- there a bar of ours or not: where none may set a price the vendor may have one by rules of its
-- own. NULL where no share counted, or no trade of the session is here. `place` numbers the
-- vendor's bars, which begin where their windows do.
select aggs.place, coalesce(aggs.vwap, bars.vwap) as vwap
from aggs
left join
    bars
    on bars.symbol = aggs.symbol
    and bars.session = aggs.session
    and epoch_ns(bars.timestamp) = epoch_ns(aggs.timestamp)
order by aggs.place
