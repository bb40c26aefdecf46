-- bars/ends: the trade that ends each bar whose end rests on where the one before it ended.
-- grain: symbol, session, ordinal
-- reads: measured
-- params: $by varchar, $threshold double, $excess varchar, $span integer
--
-- Tick, volume and dollar bars with $excess `drop` end with the trade that fills them, and counting
-- begins anew after it. Imbalance and run bars (Lopez de Prado, Advances in Financial Machine
-- Learning, 2018, chapter 2) go by the direction of each trade: the sign of the last change of
-- price among the trades that may set an open or close, 0 until there is one. With up and down the
-- measures of the trades of each direction since the bar began, an imbalance bar ends where
-- |up - down|, a run bar where the greater of the two, is as large as expected: the trades expected
-- of a bar times the measure expected of a trade. The first bar of each part of a session has
-- $threshold trades. After each bar both expectations become (1 - a) times what they were and a
-- times what the bar had, where a is 2 / ($span + 1); that of the trades is kept from a tenth to
-- ten times of $threshold, for it would run away, to bars of one trade or to one without an end.
-- They look back on no other session.
--
-- One step of the recursion is a bar, or a page of trades in which none ends, of all symbols and
-- sessions at once. Sums are of integers, and expectations are computed in the order written.
with recursive
    moving as (
        select
            *,
            sign(
                case when open_close_barred_by is null then price end
                - last_value(
                    case when open_close_barred_by is null then price end ignore nulls
                ) over (
                    partition by symbol, session, part
                    order by ordinal
                    rows between unbounded preceding and 1 preceding
                )
            ) as change
        from measured
    ),
    directed as (
        select
            *,
            case
                when $excess = 'drop'
                then 1
                else
                    last_value(nullif(change, 0) ignore nulls) over (
                        partition by symbol, session, part
                        order by ordinal
                        rows between unbounded preceding and current row
                    )
            end as direction
        from moving
    ),
    summed as (
        select
            symbol,
            session,
            part,
            ordinal,
            row_number() over until_here as place,
            sum(case when direction > 0 then measure else 0 end) over until_here as up,
            sum(case when direction < 0 then measure else 0 end) over until_here as down
        from directed
        where volume_barred_by is null
        window
            until_here as (
                partition by symbol, session, part
                order by ordinal
                rows between unbounded preceding and current row
            )
    ),
    pages as (
        select
            symbol,
            session,
            part,
            divide(place - 1, 256) as page,
            list(up::bigint order by place) as ups,
            list(down::bigint order by place) as downs
        from summed
        group by symbol, session, part, page
    ),
    -- A bar begins after `begun` trades with these sums; where its end is looked for next, past
    -- `skipped` trades of `page`; the last trade of the one before, if it ended in this step.
    steps as (
        select
            symbol,
            session,
            part,
            0::bigint as page,
            0::bigint as skipped,
            0::bigint as begun,
            0::bigint as begun_up,
            0::bigint as begun_down,
            null::double as expected_trades,
            null::double as expected_measure,
            null::bigint as ended
        from pages
        where page = 0
        union all
        (
            with
                wanting as (
                    select
                        steps.*,
                        pages.ups,
                        pages.downs,
                        case
                            when $excess = 'drop' and $by = 'tick'
                            then $threshold
                            when $excess = 'drop'
                            then $threshold * 1_000_000
                            when expected_trades is not null
                            then least(greatest(ceil(expected_trades * expected_measure), 1), 9e18)
                        end::bigint as wanted
                    from steps
                    inner join
                        pages
                        on pages.symbol = steps.symbol
                        and pages.session = steps.session
                        and pages.part = steps.part
                        and pages.page = steps.page
                ),
                looked as (
                    select
                        *,
                        case
                            when wanted is not null
                            then
                                skipped + list_position(
                                    list_transform(
                                        range(skipped + 1, len(ups) + 1),
                                        lambda place:wanted <= case
                                            when $by like '%_imbalance'
                                            then
                                                abs(
                                                    (ups[place] - begun_up)
                                                    - (downs[place] - begun_down)
                                                )
                                            else
                                                greatest(
                                                    ups[place] - begun_up, downs[place] - begun_down
                                                )
                                        end
                                    ),
                                    true
                                )
                            -- The first bar.
                            when $threshold <= page * 256 + len(ups)
                            then ($threshold - page * 256)::bigint
                        end as found
                    from wanting
                ),
                found_bars as (
                    select
                        *,
                        ups[found] - begun_up as up,
                        downs[found] - begun_down as down,
                        page * 256 + found as until,
                        page * 256 + found - begun as trades
                    from looked
                ),
                valued as (
                    select
                        *,
                        case
                            when $by like '%_imbalance' then abs(up - down) else greatest(up, down)
                        end
                        / trades as measure
                    from found_bars
                )
            select
                symbol,
                session,
                part,
                case when found is null then page + 1 else divide(until, 256) end as page,
                case when found is null then 0 else until % 256 end as skipped,
                coalesce(until, begun) as begun,
                coalesce(begun_up + up, begun_up) as begun_up,
                coalesce(begun_down + down, begun_down) as begun_down,
                case
                    when found is null
                    then expected_trades
                    when expected_trades is null
                    then $threshold
                    else
                        least(
                            greatest(
                                (1 - 2 / ($span + 1)) * expected_trades + 2 / ($span + 1) * trades,
                                $threshold / 10
                            ),
                            $threshold * 10
                        )
                end as expected_trades,
                case
                    when found is null
                    then expected_measure
                    when expected_measure is null
                    then measure
                    else (1 - 2 / ($span + 1)) * expected_measure + 2 / ($span + 1) * measure
                end as expected_measure,
                until as ended
            from valued
        )
    )
select summed.symbol, summed.session, summed.ordinal
from steps
inner join
    summed
    on summed.symbol = steps.symbol
    and summed.session = steps.session
    and summed.part = steps.part
    and summed.place = steps.ended
