-- features/order_flow_imbalance: what each quote adds to the demand at the best prices, and its
-- sum of late.
-- grain: symbol, timestamp, sequence_number, bid_exchange, ask_exchange
-- params: $window_seconds double (0 or more) = 10
-- lookback: session
-- columns: order_flow as sizes are quoted, order_flow_imbalance as sizes are quoted
-- source: Cont, Kukanov and Stoikov (2014), The price impact of order book events, Journal of
-- Financial Econometrics 12(1), 47-88
--
-- order_flow is e_n: the bid's size where its price did not fall, less the size before where it
-- did not rise, less the ask's size where its price did not rise, plus the size before where it
-- did not fall. order_flow_imbalance is its sum over the quotes of the session in the last
-- $window_seconds, the present stamp and the one $window_seconds ago included; quotes of one
-- nanosecond have one sum. order_flow is NULL at the first quote of a session. A side that is
-- not quoted stands at price 0 (bid) or infinity (ask). Flows are summed as decimals; one of 10^32
-- or more does not fit them, and is an error that names it.
with
    sides as (
        select
            *,
            epoch_ns(timestamp) as quote_ns,
            case when ask_price > 0 then ask_price else 'infinity'::double end as ask_level
        from quotes
    ),
    paired as (
        select
            *,
            lag(bid_price) over tape as bid_before,
            lag(bid_size) over tape as bid_size_before,
            lag(ask_level) over tape as ask_before,
            lag(ask_size) over tape as ask_size_before
        from sides
        window
            tape as (
                partition by symbol, session
                order by
                    timestamp,
                    sequence_number nulls first,
                    bid_exchange nulls first,
                    ask_exchange nulls first
            )
    ),
    events as (
        select
            *,
            case
                when bid_before is not null
                then
                    case when bid_price >= bid_before then bid_size else 0 end
                    - case when bid_price <= bid_before then bid_size_before else 0 end
                    - case when ask_level <= ask_before then ask_size else 0 end
                    + case when ask_level >= ask_before then ask_size_before else 0 end
            end as order_flow
        from paired
    ),
    exact as (
        select
            symbol,
            session,
            quote_ns,
            coalesce(
                try_cast(order_flow as decimal(38, 6)),
                -- Not to be cast: DuckDB's error quotes the text.
                case
                    when order_flow is not null
                    then
                        format(
                            'the quote of {} at {}: a flow of {} is too much for order_flow_imbalance',
                            symbol,
                            timestamp,
                            order_flow
                        )::decimal(38, 6)
                end
            ) as flow
        from events
    ),
    by_stamp as (
        select symbol, session, quote_ns, sum(flow) as flow
        from exact
        group by symbol, session, quote_ns
    ),
    running as (
        select
            symbol,
            session,
            quote_ns,
            sum(flow) over (
                partition by symbol, session
                order by quote_ns
                rows between unbounded preceding and current row
            ) as flow_so_far
        from by_stamp
    ),
    recent as (
        -- What has come so far less what had come before the window began: a frame of RANGE says
        -- the same and takes four times as long.
        select
            running.symbol,
            running.session,
            running.quote_ns,
            running.flow_so_far - coalesce(earlier.flow_so_far, 0) as recent_flow
        from running
        asof left join
            running as earlier
            on running.symbol = earlier.symbol
            and running.session = earlier.session
            and running.quote_ns - ($window_seconds * 1e9)::bigint > earlier.quote_ns
    ),
    summed as (
        select
            events.symbol,
            events.timestamp,
            events.sequence_number,
            events.bid_exchange,
            events.ask_exchange,
            events.order_flow,
            recent.recent_flow::double as order_flow_imbalance,
            events.session
        from events
        inner join
            recent
            on events.symbol = recent.symbol
            and events.session = recent.session
            and events.quote_ns = recent.quote_ns
    )
select *
from summed
order by
    symbol,
    timestamp,
    sequence_number nulls first,
    bid_exchange nulls first,
    ask_exchange nulls first
