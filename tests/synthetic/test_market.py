"""The synthetic market keeps every fact of the vendor's files that the rest is tested with."""

import csv
import gzip
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, pairwise
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

import duckdb
import exchange_calendars
import numpy as np
import pytest
from building import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse.synthetic.files import HEADERS, bars, file_order, load_rules, write
from warehouse.synthetic.market import (
    DEMO,
    TRADE_CONDITIONS,
    Market,
    benchmark_market,
    hours,
    trades,
)

CONFIG = REPOSITORY / "config"
NEW_YORK = ZoneInfo("America/New_York")
HALF_DAY = date(2025, 11, 28)
SMALL = replace(DEMO, sessions=DEMO.sessions[:1], trades_per_session=900, quotes_per_session=600)

Row = dict[str, str]


def read(path: Path) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@dataclass(frozen=True)
class Written:
    """The demo's files, and their rows as text."""

    folder: Path
    paths: list[Path]
    trades: dict[date, list[Row]]
    quotes: dict[date, list[Row]]


def path_of(folder: Path, data_type: str, session: date) -> Path:
    name = f"{data_type}_v1/{session:%Y}/{session:%m}/{session.isoformat()}.csv.gz"
    return folder / "us_stocks_sip" / name


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("demo")
    paths = write(DEMO, folder)
    tables = (
        {session: read(path_of(folder, data_type, session)) for session in DEMO.sessions}
        for data_type in ("trades", "quotes")
    )
    return Written(folder, paths, *tables)


def by_symbol(rows: list[Row]) -> dict[str, list[Row]]:
    return {symbol: list(run) for symbol, run in groupby(rows, key=lambda row: row["ticker"])}


def new_york(row: Row) -> datetime:
    return datetime.fromtimestamp(int(row["sip_timestamp"]) // 10**9, NEW_YORK)


def identity(row: Row) -> tuple[str, ...]:
    return tuple(row.values())


# --- the files


def test_same_bytes_every_time(tmp_path: Path) -> None:
    first, second = (write(SMALL, tmp_path / name) for name in ("first", "second"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_same_rows_on_every_machine(demo: Written) -> None:
    # Of the bytes inside: those of another version of the deflater may differ.
    plain = hashlib.sha256()
    for path in demo.paths:
        plain.update(gzip.decompress(path.read_bytes()))
    assert plain.hexdigest() == "0552b0cf71131bd257de39564118f5858072cf59298d1fd081cbead545bc15ee"


def test_another_seed_is_another_market(tmp_path: Path) -> None:
    (first,) = write(SMALL, tmp_path / "first", ["trades"])
    (second,) = write(replace(SMALL, seed=8), tmp_path / "second", ["trades"])
    assert not {identity(row) for row in read(first)} & {identity(row) for row in read(second)}


def test_files_stand_where_the_vendor_has_them(demo: Written) -> None:
    wanted = {path_of(demo.folder, kind, session) for kind in HEADERS for session in DEMO.sessions}
    assert demo.paths == sorted(wanted)
    assert {path for path in demo.folder.rglob("*") if path.is_file()} == wanted


def test_headers_are_the_vendors(demo: Written) -> None:
    wanted = {
        "trades": "ticker,conditions,correction,exchange,id,participant_timestamp,price,"
        "sequence_number,sip_timestamp,size,tape,trf_id,trf_timestamp\n",
        "quotes": "ticker,ask_exchange,ask_price,ask_size,bid_exchange,bid_price,bid_size,"
        "conditions,indicators,participant_timestamp,sequence_number,sip_timestamp,tape,"
        "trf_timestamp\n",
        "minute_aggs": "ticker,volume,open,close,high,low,window_start,transactions\n",
        "day_aggs": "ticker,volume,open,close,high,low,window_start,transactions\n",
    }
    for data_type, header in wanted.items():
        for session in DEMO.sessions:
            with gzip.open(path_of(demo.folder, data_type, session), "rt", newline="") as lines:
                assert next(lines) == header


def test_gzip_header_says_neither_name_nor_time(demo: Written) -> None:
    for path in demo.paths:
        magic, flags, stamp = path.read_bytes()[:2], path.read_bytes()[3], path.read_bytes()[4:8]
        assert (magic, flags, stamp) == (b"\x1f\x8b", 0, bytes(4))


def test_both_layouts_hold_the_same_rows(demo: Written, tmp_path: Path) -> None:
    written = write(DEMO, tmp_path, layout="symbol")
    root = tmp_path / "us_stocks_sip"
    folders = {
        "trades": "trades/%Y/%m/%d",
        "quotes": "quotes/%Y/%m/%d",
        "minute_aggs": "aggregates/minute/%Y/%m/%d",
        "day_aggs": "aggregates/day/%Y/%m",
    }
    wanted: dict[Path, list[Row]] = {}
    for data_type, folder in folders.items():
        for session in DEMO.sessions:
            rows = read(path_of(demo.folder, data_type, session))
            for symbol, run in by_symbol(rows).items():
                path = root / session.strftime(folder) / f"{symbol}.csv.gz"
                wanted.setdefault(path, []).extend(run)
    assert written == sorted(wanted)
    assert {path: read(path) for path in written} == wanted
    months = [path for path in written if path.parts[-5:-3] == ("aggregates", "day")]
    assert Counter(len(read(path)) for path in months) == {3: 15, 2: 15}


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("A/B", "A%2FB"),
        ("../../x", "..%2F..%2Fx"),
        ("~", "%7E"),
        ("a,b", "a%2Cb"),
        ('"', "%22"),
        ("🚀", "%F0%9F%9A%80"),
    ],
)
def test_any_symbol_comes_back_and_none_leaves_the_folder(
    tmp_path: Path, symbol: str, name: str
) -> None:
    market = replace(SMALL, symbols=(symbol,), trades_per_session=5)
    written = write(market, tmp_path, ["trades"], layout="symbol")
    assert written == [tmp_path / f"us_stocks_sip/trades/2025/11/25/{name}.csv.gz"]
    assert [row["ticker"] for row in read(written[0])] == [symbol] * 5


def test_a_file_without_rows_is_not_written(tmp_path: Path) -> None:
    assert write(replace(SMALL, quotes_per_session=0), tmp_path, ["quotes"]) == []


def test_an_unknown_data_type_or_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data_types: \['bars'\] not among trades, quotes"):
        write(SMALL, tmp_path, ["bars"])
    with pytest.raises(ValueError, match="layout: 'week'"):
        write(SMALL, tmp_path, layout="week")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_market_without_sense_is_refused() -> None:
    for bad in (
        {"sessions": DEMO.sessions[::-1]},
        {"symbols": ()},
        {"symbols": ("A", "A")},
        {"trades_per_session": -1},
    ):
        with pytest.raises(ValueError, match="must"):
            replace(DEMO, **bad)


# --- order and size


def test_row_counts_are_those_asked_for(demo: Written) -> None:
    for session in DEMO.sessions:
        wanted = 6_500 if session == HALF_DAY else 13_000
        assert len(demo.trades[session]) == wanted
        assert len(demo.quotes[session]) == wanted


def test_each_symbol_is_one_run_in_time_order(demo: Written) -> None:
    for rows in (*demo.trades.values(), *demo.quotes.values()):
        runs = [symbol for symbol, _ in groupby(row["ticker"] for row in rows)]
        assert sorted(runs) == sorted(DEMO.symbols)
        for run in by_symbol(rows).values():
            stamps = [int(row["sip_timestamp"]) for row in run]
            assert stamps == sorted(stamps)


def test_symbols_are_not_in_byte_order(demo: Written) -> None:
    assert file_order(["ABT", "ABRC", "ABRpA", "ABR"]) == ["ABR", "ABRpA", "ABRC", "ABT"]
    assert file_order(["BCPC", "BCpC"]) == ["BCpC", "BCPC"]
    runs = list(by_symbol(demo.trades[HALF_DAY]))
    assert runs == file_order(DEMO.symbols) != sorted(DEMO.symbols)


def test_a_sequence_number_repeats_only_in_a_copy(demo: Written) -> None:
    out_of_order = 0
    for rows in (*demo.trades.values(), *demo.quotes.values()):
        for run in by_symbol(rows).values():
            fresh = list(dict.fromkeys(map(identity, run)))
            numbers = [int(row["sequence_number"]) for row in run]
            assert len(set(numbers)) == len(fresh)
            backwards = [
                (before, after)
                for before, after in pairwise(run)
                if int(before["sequence_number"]) > int(after["sequence_number"])
            ]
            assert all(a["sip_timestamp"] == b["sip_timestamp"] for a, b in backwards)
            out_of_order += len(backwards)
    # A few ties are out of order, so that a reader who trusts the file's order is found out.
    assert 20 < out_of_order < 500


def test_copies_are_exact_and_few(demo: Written) -> None:
    for rows in (demo.trades, demo.quotes):
        copies = sum(len(day) - len(set(map(identity, day))) for day in rows.values())
        assert 40 < copies < 80


def test_genuine_trades_that_look_alike_share_a_nanosecond(demo: Written) -> None:
    alike: dict[tuple[str, ...], set[tuple[str, str]]] = {}
    for row in demo.trades[HALF_DAY]:
        key = tuple(row[name] for name in ("ticker", "sip_timestamp", "price", "size", "exchange"))
        alike.setdefault(key, set()).add((row["id"], row["sequence_number"]))
    genuine = [found for found in alike.values() if len(found) > 1]
    assert len(genuine) > 50
    assert all(len({number for number, _ in found}) == len(found) for found in genuine)


# --- the clock


def test_sessions_and_half_days_are_the_exchanges() -> None:
    calendar = exchange_calendars.get_calendar("XNYS")
    in_range = calendar.sessions_in_range(str(DEMO.sessions[0]), str(DEMO.sessions[-1]))
    assert tuple(session.date() for session in in_range) == DEMO.sessions
    for session in DEMO.sessions:
        at = hours(DEMO, session)
        assert at.open == int(calendar.session_open(str(session)).timestamp()) * 10**9
        assert at.close == int(calendar.session_close(str(session)).timestamp()) * 10**9


def test_rows_keep_to_the_sessions_hours(demo: Written) -> None:
    for table in (demo.trades, demo.quotes):
        for session, rows in table.items():
            clocks = [new_york(row) for row in rows]
            assert {clock.date() for clock in clocks} == {session}
            assert min(clock.hour for clock in clocks) == 4
            assert max(clock.hour for clock in clocks) == (16 if session == HALF_DAY else 19)


def test_last_hour_of_a_winter_session_carries_the_next_utc_date(demo: Written) -> None:
    for session in set(DEMO.sessions) - {HALF_DAY}:
        late = [row for row in demo.trades[session] if new_york(row).hour == 19]
        assert late
        for row in late:
            stamp = datetime.fromtimestamp(int(row["sip_timestamp"]) // 10**9, UTC)
            assert stamp.date() == session + timedelta(days=1)


def test_summer_and_winter_sessions_keep_the_same_new_york_clock() -> None:
    sessions = (date(2025, 10, 31), date(2025, 11, 3))  # the clocks go back between them
    market = replace(DEMO, sessions=sessions, half_days=frozenset())
    summer, winter = (hours(market, session) for session in sessions)
    assert winter.open - summer.open == (3 * 24 + 1) * 3_600 * 10**9
    assert datetime.fromtimestamp(summer.start // 10**9, UTC).hour == 8
    assert datetime.fromtimestamp(winter.start // 10**9, UTC).hour == 9


def test_half_day_ends_early(demo: Written) -> None:
    rows = demo.trades[HALF_DAY]
    closing = [new_york(row) for row in rows if row["conditions"] == "8,41"]
    assert {(clock.hour, clock.minute) for clock in closing} == {(13, 0)}
    assert max(new_york(row) for row in rows).hour == 16
    assert all("12" in row["conditions"].split(",") for row in rows if new_york(row).hour >= 14)


def test_most_rows_are_in_regular_hours_and_more_at_their_ends(demo: Written) -> None:
    rows = [row for session in DEMO.sessions if session != HALF_DAY for row in demo.trades[session]]
    half_hours = Counter((new_york(row).hour * 60 + new_york(row).minute) // 30 for row in rows)
    regular = sum(half_hours[half] for half in range(19, 32))
    assert 0.90 < regular / len(rows) < 0.97
    assert half_hours[19] > 1.5 * half_hours[25] < half_hours[31] / 1.5


def test_stamps_run_from_participant_to_trf_to_sip(demo: Written) -> None:
    late = 0
    for row in (row for rows in demo.trades.values() for row in rows):
        participant, sip = int(row["participant_timestamp"]), int(row["sip_timestamp"])
        assert participant < sip
        late += sip - participant > 3_600 * 10**9
        if row["exchange"] == "4":
            assert row["trf_id"] in {"201", "202", "203"}
            assert participant < int(row["trf_timestamp"]) < sip
        else:
            assert (row["trf_id"], row["trf_timestamp"]) == ("0", "0")
    assert late > 20


# --- what the rows say


def test_corrections_pair_exactly(demo: Written) -> None:
    kinds: Counter[str] = Counter()
    for rows in demo.trades.values():
        for run in by_symbol(rows).values():
            corrected = {row["id"]: row for row in run if row["correction"] in {"1", "7", "8"}}
            records = {row["id"]: row for row in run if row["correction"] in {"10", "11", "12"}}
            assert corrected.keys() == records.keys()
            for number, record in records.items():
                trade = corrected[number]
                kinds[f"{trade['correction']} {record['correction']}"] += 1
                assert int(trade["sip_timestamp"]) < int(record["sip_timestamp"])
                same = trade["price"] == record["price"] and trade["size"] == record["size"]
                assert same == (record["correction"] != "12")
    assert kinds.keys() == {"8 10", "7 11", "1 12"}
    assert min(kinds.values()) > 5


def test_codes_are_in_the_reference_tables(demo: Written) -> None:
    tables = {}
    for name in ("trade_conditions", "quote_conditions", "exchanges"):
        with (CONFIG / f"{name}.csv").open(newline="") as lines:
            tables[name] = {row["id"] for row in csv.DictReader(lines)}
    for data_type in ("trades", "quotes"):
        rows = [row for day in getattr(demo, data_type).values() for row in day]
        used = {code for row in rows for code in row["conditions"].split(",")} - {""}
        assert used <= tables[f"{data_type[:-1]}_conditions"]
        venues = {row[name] for row in rows for name in row if name.endswith("exchange")}
        assert venues - {"0"} <= tables["exchanges"]


def test_form_t_marks_all_outside_regular_hours_but_the_auctions(demo: Written) -> None:
    for session, rows in demo.trades.items():
        at = hours(DEMO, session)
        # A record keeps the conditions of its trade, whenever it comes.
        for row in (row for row in rows if row["correction"] not in {"10", "11", "12"}):
            outside = not at.open <= int(row["sip_timestamp"]) < at.close
            if row["conditions"] not in {"25,41", "16", "8,41", "15", "38"}:
                assert ("12" in row["conditions"].split(",")) == outside


def test_odd_lots_are_most_trades_and_official_prices_many_dollars(demo: Written) -> None:
    rows = [row for day in demo.trades.values() for row in day]
    odd = [row for row in rows if "37" in row["conditions"].split(",")]
    assert 0.6 < len(odd) / len(rows) < 0.7
    assert all(float(row["size"]) < 100 for row in odd)
    dollars: Counter[bool] = Counter()
    for row in rows:
        official = row["conditions"] in {"15", "16", "38"}
        dollars[official] += round(float(row["price"]) * float(row["size"]))
    assert 0.05 < dollars[True] / dollars.total() < 0.25
    assert any(float(row["size"]) == 0 for row in rows)


def test_numbers_are_written_as_the_vendor_did_at_the_time(demo: Written) -> None:
    # Short before the sizes had fractions, with six decimals since then; a quote's whole price
    # ends in .0, an absent one is a bare zero.
    short, quoted, six = r"\d+(\.\d{0,3}[1-9])?", r"0|\d+\.(0|\d{0,3}[1-9])", r"\d+\.\d{6}"
    for session in DEMO.sessions:
        fractional = session >= DEMO.fractional_from
        trade, quote = (six, six) if fractional else (short, quoted)
        for row in demo.trades[session]:
            assert re.fullmatch(trade, row["price"])
            assert re.fullmatch(six if fractional else r"\d+", row["size"])
        for row in demo.quotes[session]:
            assert re.fullmatch(quote, row["ask_price"])
            assert re.fullmatch(quote, row["bid_price"])
            assert re.fullmatch(r"\d+", row["ask_size"])
        for row in read(path_of(demo.folder, "minute_aggs", session)):
            assert re.fullmatch(six if fractional else short, row["low"])
            assert re.fullmatch(six if fractional else r"\d+", row["volume"])
    last = demo.trades[DEMO.sessions[-1]]
    assert sum(not row["size"].endswith(".000000") for row in last) > 500


def test_sizes_have_fractions_since_the_day_the_vendor_began(tmp_path: Path) -> None:
    days = (date(2026, 2, 20), date(2026, 2, 23))
    market = Market(days, frozenset(), ("AAPL",), 500, 0)
    before, since = (read(path) for path in write(market, tmp_path, ["trades"]))
    assert not any("." in row["size"] for row in before)
    assert any(float(row["size"]) % 1 for row in since)


def test_quotes_are_two_sided_but_for_a_few(demo: Written) -> None:
    seen: Counter[str] = Counter()
    for row in (row for day in demo.quotes.values() for row in day):
        bid, ask = float(row["bid_price"]), float(row["ask_price"])
        for side in ("bid", "ask"):
            assert (float(row[f"{side}_price"]) == 0) == (int(row[f"{side}_size"]) == 0)
        kind = "locked" if bid == ask else "crossed" if bid > ask else "normal"
        seen["none" if bid == ask == 0 else "one" if bid == 0 or ask == 0 else kind] += 1
        seen["no exchange"] += row["bid_exchange"] == "0"
        seen["indicators"] += row["indicators"] != ""
        seen["quoted list"] += "," in row["conditions"]
    assert seen["normal"] > 0.95 * DEMO.quotes_per_session * 4.5
    for kind in ("none", "one", "locked", "crossed", "no exchange", "indicators", "quoted list"):
        assert seen[kind] > 20, kind


# --- the aggregates

# Written from the rules' text alone, on the files as they stand.
BARS = """
with allowed as (
    select
        conditions,
        bool_and(coalesce(updates_high_low, true)) as high_low,
        bool_and(coalesce(updates_open_close, true)) as open_close,
        bool_and(coalesce(updates_volume, true)) as in_volume,
        bool_and(code = '12' or coalesce(updates_high_low, true)) as high_low_outside,
        bool_and(code = '12' or coalesce(updates_open_close, true)) as open_close_outside
    from (
        select conditions, unnest(string_split(conditions, ',')) as code
        from (select distinct conditions from trades)
    ) left join rules on rules.id = try_cast(code as integer)
    group by conditions
),
clean as (select distinct * from trades where correction in ('0', '1')),
placed as (
    select
        clean.session, ticker, sip_timestamp as stamp, sequence_number, price, size,
        in_volume,
        if($every = 'day', midnight, stamp - stamp % 60_000_000_000) as bucket,
        $every = 'minute' and (bucket < opens or bucket >= closes) as outside,
        if(outside, high_low_outside, high_low) as sets_range,
        if(outside, open_close_outside, open_close) as sets_ends
    from clean join allowed using (conditions) join sessions using (session)
)
select
    session,
    ticker,
    coalesce(sum(size) filter (where in_volume), 0)::decimal(18, 6),
    first(price order by stamp, sequence_number) filter (where sets_ends),
    last(price order by stamp, sequence_number) filter (where sets_ends),
    max(price) filter (where sets_range),
    min(price) filter (where sets_range),
    bucket,
    count(*) filter (where in_volume)
from placed
group by session, ticker, bucket
having bool_or(sets_range) and bool_or(sets_ends)
order by session, ticker, bucket
"""


@pytest.fixture(scope="module")
def database(demo: Written) -> Iterator[duckdb.DuckDBPyConnection]:
    calendar = exchange_calendars.get_calendar("XNYS")
    with duckdb.connect() as con:
        rules = f"create table rules as from read_csv('{CONFIG / 'trade_conditions.csv'}')"
        con.execute(rules).fetchall()
        con.execute(
            f"""
            create table trades as
            select
                regexp_extract(filename, '(\\d+-\\d+-\\d+).csv.gz', 1)::date as session, ticker,
                conditions, correction, exchange, id, participant_timestamp,
                price::decimal(18, 6) as price, sequence_number::bigint as sequence_number,
                sip_timestamp::bigint as sip_timestamp, size::decimal(18, 6) as size, trf_timestamp
            from read_csv(
                '{demo.folder}/us_stocks_sip/trades_v1/*/*/*.csv.gz', all_varchar = true,
                filename = true, force_not_null = ['ticker', 'conditions']
            )
            """
        ).fetchall()
        con.execute(
            "create table sessions (session date, midnight bigint, opens bigint, closes bigint)"
        ).fetchall()
        for session in DEMO.sessions:
            midnight = datetime(session.year, session.month, session.day, tzinfo=NEW_YORK)
            ends = calendar.session_open(str(session)), calendar.session_close(str(session))
            stamps = [int(instant.timestamp()) * 10**9 for instant in (midnight, *ends)]
            con.execute("insert into sessions values (?, ?, ?, ?)", [session, *stamps]).fetchall()
        yield con


@pytest.mark.parametrize("every", ["minute", "day"])
def test_aggregates_agree_with_the_trades(
    demo: Written, database: duckdb.DuckDBPyConnection, every: str
) -> None:
    wanted = database.execute(BARS, {"every": every}).fetchall()
    written = database.execute(
        f"""
        select
            regexp_extract(filename, '(\\d+-\\d+-\\d+).csv.gz', 1)::date as session, ticker,
            volume::decimal(18, 6), open::decimal(18, 6), close::decimal(18, 6),
            high::decimal(18, 6), low::decimal(18, 6), window_start::bigint as bucket,
            transactions::bigint
        from read_csv(
            '{demo.folder}/us_stocks_sip/{every}_aggs_v1/*/*/*.csv.gz', all_varchar = true,
            filename = true, force_not_null = ['ticker']
        )
        order by session, ticker, bucket
        """
    ).fetchall()
    assert written == wanted
    assert len(written) == 75 if every == "day" else len(written) > 8_000


def test_official_closes_alone_make_bars_of_no_volume(demo: Written) -> None:
    rows = [
        row
        for session in DEMO.sessions
        for row in read(path_of(demo.folder, "minute_aggs", session))
        if row["transactions"] == "0"
    ]
    assert rows
    assert all(float(row["volume"]) == 0 for row in rows)


def test_minutes_add_up_to_less_than_the_day(demo: Written) -> None:
    for session in DEMO.sessions:
        volumes: Counter[str] = Counter()
        for row in read(path_of(demo.folder, "minute_aggs", session)):
            volumes[row["ticker"]] += round(float(row["volume"]) * 10**6)
        for row in read(path_of(demo.folder, "day_aggs", session)):
            assert volumes[row["ticker"]] < round(float(row["volume"]) * 10**6)


def test_the_closing_print_is_the_days_close_unless_corrected(demo: Written) -> None:
    for session in DEMO.sessions:
        close = {
            row["ticker"]: row["price"]
            for row in demo.trades[session]
            if row["conditions"] in {"8,41", "38"}
        }
        day = read(path_of(demo.folder, "day_aggs", session))
        assert close == {row["ticker"]: row["close"] for row in day}


def test_rules_with_dates_count_in_their_sessions_alone(tmp_path: Path) -> None:
    path = tmp_path / "trade_conditions.csv"
    path.write_text(
        "id,name,updates_high_low,updates_open_close,updates_volume,valid_from,valid_to\n"
        "12,always,false,false,true,,\n"
        "17,before,true,true,false,,2024-01-30\n"
        "17,later,TRUE,true,true,2024-01-31,\n"
    )
    always = {12: (False, False, True)}
    assert load_rules(path) == always
    assert load_rules(path, date(2024, 1, 30)) == {**always, 17: (True, True, False)}
    assert load_rules(path, date(2024, 1, 31)) == {**always, 17: (True, True, True)}


def test_other_rules_make_other_bars() -> None:
    session = DEMO.sessions[0]
    table, at = trades(DEMO, session, "SPY"), hours(DEMO, session)
    plain = bars(table, at, {}, "day")
    usual = bars(table, at, load_rules(), "day")
    barred = dict.fromkeys(range(100), (False, False, False))
    clean = np.isin(table["correction"], (0, 1))
    clean[1:] &= np.diff(table["sequence_number"]) != 0
    # A condition that nothing is known of forbids nothing.
    assert plain["transactions"].tolist() == [clean.sum()]
    assert plain["high"].tolist() == [table["price"][clean].max()]
    assert usual["volume"][0] < plain["volume"][0]
    strict = bars(table, at, barred, "day")
    bare = clean & (table["conditions"] == TRADE_CONDITIONS.index(""))
    assert strict["volume"].tolist() == [table["size"][bare].sum()]


def test_no_trade_no_bar() -> None:
    session = DEMO.sessions[0]
    market = replace(DEMO, trades_per_session=0)
    table, at = trades(market, session, "SPY"), hours(market, session)
    assert all(len(column) == 0 for column in bars(table, at, load_rules(), "minute").values())
    assert all(len(column) == 0 for column in bars(table, at, load_rules(), "day").values())


# --- other sizes


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(0, 400),
    symbols=st.integers(1, 40),
    ppm=st.integers(0, 1_000_000),
    seed=st.integers(0, 2**64),
)
def test_counts_hold_at_any_size(rows: int, symbols: int, ppm: int, seed: int) -> None:
    names = tuple(f"S{number}" for number in range(symbols))
    market = replace(
        DEMO, symbols=names, trades_per_session=rows, corrections_ppm=ppm, duplicates_ppm=ppm,
        seed=seed,
    )  # fmt: skip
    tables = [trades(market, DEMO.sessions[0], symbol) for symbol in names]
    assert sum(len(table["price"]) for table in tables) == rows
    at = hours(market, DEMO.sessions[0])
    for table in tables:
        codes = Counter(table["correction"].tolist())
        assert (codes[8], codes[7], codes[1]) == (codes[10], codes[11], codes[12])
        stamps = table["sip_timestamp"]
        assert np.all(np.diff(stamps) >= 0)
        assert np.all((stamps >= at.start) & (stamps < at.end) & (table["price"] > 0))


def test_a_benchmark_has_few_rows_in_most_symbols() -> None:
    market = benchmark_market(5_000_000)
    session = market.sessions[0]
    counts = [market.rows(5_000_000, session, symbol) for symbol in market.symbols]
    assert len(set(market.symbols)) == 8_000
    assert sum(counts) == 5_000_000
    assert median(counts) < 170
    assert max(counts) < 150_000
    assert all(re.fullmatch(r"[A-Z]{1,5}(\.[AB]|\.WS|p[AD])?", name) for name in market.symbols)
    assert {name[-2:] for name in market.symbols} >= {".A", "pA", "WS"}


def test_a_benchmark_market_is_written_whole(tmp_path: Path) -> None:
    # More than a block of one symbol, and many symbols in a block.
    market = benchmark_market(120_000, 300)
    (path,) = write(market, tmp_path, ["trades"])
    rows = read(path)
    assert len(rows) == 120_000
    runs = by_symbol(rows)
    assert list(runs) == file_order(market.symbols)
    sizes = {symbol: market.rows(120_000, market.sessions[0], symbol) for symbol in market.symbols}
    assert {symbol: len(run) for symbol, run in runs.items()} == sizes
    assert sum(any(row["correction"] != "0" for row in run) for run in runs.values()) < 60
