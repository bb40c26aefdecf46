-- validate/coarse_bars: sessions whose minute bars begin at every second minute alone, or fewer.
-- grain: one row per session
-- severity: error
-- data_types: minute_aggs
-- on_ingest: yes
--
-- So do bars of two minutes, of half an hour, of an hour: a file of these stands in the place of
-- one of minutes. Their width is the greatest common divisor of the gaps between the minutes of
-- all symbols together. An illiquid symbol may trade at a few such times alone, as in the
-- auctions: of n minutes taken at random, all lie so once in width ** (n - 1) sessions. Less than
-- once in 2 ** 25 is no chance: 26 minutes two apart, 12 five apart, 6 an hour apart.
with
    minutes as (
        select session, timestamp, count(*) as row_count
        from minute_aggs
        group by session, timestamp
    ),
    gaps as (
        select
            *,
            date_diff(
                'minute', lag(timestamp) over (partition by session order by timestamp), timestamp
            ) as gap
        from minutes
    ),
    sessions as (
        select
            session,
            min(timestamp) as timestamp,
            sum(row_count)::bigint as row_count,
            count(*) as minutes,
            list_reduce(list(gap) filter (where gap is not null), lambda a, b: (gcd(a, b))) as width
        from gaps
        group by session
    )
select null as symbol, session, timestamp, row_count, minutes, width
from sessions
where (minutes - 1) * log2(width) >= 25
order by session
