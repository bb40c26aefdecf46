-- catalog/adjustment: what prices and sizes of a symbol are multiplied by, as a table macro.
--
-- factors_of('AAPL', 'splits', '2024-12-31') has a row for each stretch of sessions, from
-- first_session on and before until_session, whose prices and sizes are to be multiplied to be
-- those of 2024-12-31; sessions of no row stay as they are. 'splits' takes splits alone, 'all'
-- dividends too, which multiply prices alone. Only actions that count, none after the last
-- argument, and of each symbol those of the security that bore it in their session, or else the
-- day before: they reach the rows of that one, under whatever symbol. Products are made in the
-- order of warehouse/bars: the latest first, numerators of splits, their denominators and
-- dividends each by themselves. is_adjustment is true, or an error that says what is wrong with an
-- adjustment of sessions up to last_session.
create or replace macro is_adjustment(adjust, as_of, last_session) as case
    when adjust is null or adjust::varchar not in ('none', 'splits', 'all')
    then error('adjust = ' || coalesce(adjust::varchar, 'NULL') || ': it may be none, splits, all')
    when last_session is null
    then error('as_of = NULL: name the session whose prices are wanted')
    when as_of::date < last_session::date
    then
        error(
            'as_of = '
            || as_of::date
            || ': it lies before the end of what is asked, '
            || last_session::date
        )
    else is_the_only_one()
end;
create or replace macro factors_of(of_symbol, adjust, as_of) as table (
    with
        bearers as (
            select security, first_session, coalesce(last_session, '9999-12-30') as last_session
            from main.securities
            where symbol = of_symbol
        ),

        symbols as (
            select of_symbol as name
            union
            select symbol
            from main.securities
            where security in (select security from bearers)
        ),

        counting as (
            select
                actions.*,
                coalesce(
                (
                    select arg_max(bearer.security, (bearer.first_session, bearer.security))
                    from main.securities as bearer
                    where
                        bearer.symbol = actions.symbol
                        and bearer.first_session <= actions.session
                        and coalesce(bearer.last_session, '9999-12-30') >= actions.session
                ),
                (
                    select arg_max(bearer.security, (bearer.first_session, bearer.security))
                    from main.securities as bearer
                    where
                        bearer.symbol = actions.symbol
                        and bearer.first_session <= actions.session - 1
                        and coalesce(bearer.last_session, '9999-12-30') >= actions.session - 1
                )
                ) as security
            from main.actions
            where
                counts
                and symbol in (select name from symbols)
                and session <= as_of::date
                and (
                    adjust::varchar = 'all' or (adjust::varchar = 'splits' and kind = 'split')
                )
        ),

        edges as (
            select date '0001-01-01' as day
            union
            select session
            from counting
            union
            select first_session
            from bearers
            union
            select last_session + 1
            from bearers
        ),

        spans as (
            select
                day,
                coalesce(lead(day) over (order by day), date '9999-12-31') as until_day,
                (
                    select arg_max(bearer.security, (bearer.first_session, bearer.security))
                    from bearers as bearer
                    where bearer.first_session <= day and bearer.last_session >= day
                ) as security
            from edges
        ),

        ordered as (
            select
                spans.day,
                spans.until_day,
                list(split_from order by session desc, id desc) filter (
                    kind = 'split'
                ) as shares_from,
                list(split_to order by session desc, id desc) filter (kind = 'split') as shares_to,
                list(price_factor order by session desc, id desc) filter (
                    kind = 'dividend'
                ) as dividends
            from spans
            inner join
                counting
                on counting.session >= spans.until_day
                and (
                    counting.security = spans.security
                    or (
                        counting.security is null
                        and spans.security is null
                        and counting.symbol = of_symbol
                    )
                )
            group by spans.day, spans.until_day
        )

    select
        day as first_session,
        until_day as until_session,
        coalesce(list_product(shares_from) / list_product(shares_to), 1)
        * coalesce(list_product(dividends), 1) as price_factor,
        coalesce(list_product(shares_to) / list_product(shares_from), 1) as size_factor
    from ordered
    union all
    -- It is asked where there is no action, too: no row says that nothing is to be multiplied.
    select null, null, null, null
    where not is_adjustment(adjust, as_of, as_of)
    order by first_session
);
