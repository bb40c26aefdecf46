"""What a loaded answer may look like, what stands behind it, and what is refused before reading."""

import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from building import REPOSITORY, Made, MakeWarehouse, day_key, instant, quote, trade

from warehouse import Warehouse
from warehouse.core import process
from warehouse.errors import NoDataError, RequestError, TooLargeError
from warehouse.read import fingerprint as ids
from warehouse.read import partition_reader
from warehouse.read.frames import size_of
from warehouse.read.snapshot import Snapshot

DAYS = (date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1))


def lines(day: date, price: float = 0.0) -> list[str]:
    """Trades of two symbols: some share a stamp, one size is a fraction, prices are cents."""
    return [
        trade(
            symbol,
            instant(day, "10:00", offset + n // 2),
            n + 1,
            price=round(price + 100 + n / 100, 2),
            size=0.5 if n == 7 else 100,
            exchange=4 + n % 3,
            conditions=("", "12", '"12,37"')[n % 3],
            id=str(10**9 + n),
        )
        for symbol, offset in (("MSFT", 3), ("AAPL", 0))
        for n in range(200)
    ]


@pytest.fixture(scope="module")
def made(make_warehouse: MakeWarehouse) -> Made:
    files: dict[str, Any] = {day_key("trades", day): lines(day) for day in DAYS}
    files[day_key("quotes", DAYS[0])] = [quote("AAPL", instant(DAYS[0]))]
    warehouse = make_warehouse(files)
    warehouse.update()
    return warehouse


@pytest.fixture
def wh(made: Made) -> Iterator[Warehouse]:
    with Warehouse(made.root) as opened:
        yield opened


def everything(wh: Warehouse, **options: Any) -> Any:
    return wh.trades(["MSFT", "AAPL"], DAYS[0], DAYS[-1], **options)


# Index


def test_the_multi_index_is_the_one_that_pandas_would_sort(wh: Warehouse) -> None:
    plain = everything(wh)
    expected = plain.sort_values(["timestamp", "symbol", "sequence_number"]).set_index(
        ["timestamp", "symbol"]
    )
    found = everything(wh, index=("timestamp", "symbol"))
    pd.testing.assert_frame_equal(found, expected)
    assert found.index.is_monotonic_increasing
    # Rows of one instant and symbol stand in the order of the tape.
    same = found.groupby(level=[0, 1])["sequence_number"]
    assert same.is_monotonic_increasing.all()
    assert same.size().max() == 2
    moment = found.index[5]
    assert len(found.loc[moment]) == 2


def test_stamps_may_be_the_index_and_need_not_be_named_among_the_columns(wh: Warehouse) -> None:
    found = everything(wh, index="timestamp", columns=["price"], tz="America/New_York")
    expected = everything(wh, columns=["timestamp", "price"], tz="America/New_York")
    pd.testing.assert_frame_equal(found, expected.set_index("timestamp"))
    day = wh.trades("AAPL", DAYS[0], DAYS[0], index="timestamp")
    assert len(day.loc["2024-01-30 15:00":"2024-01-30 16:00"]) == 200
    only = everything(wh, index=("timestamp", "symbol"), columns=["symbol"])
    assert only.shape == (1200, 0)


@pytest.mark.parametrize("index", ["price", ("symbol", "timestamp"), [], ("timestamp",) * 2, 3])
def test_no_other_index_is_taken(wh: Warehouse, index: Any) -> None:
    with pytest.raises(RequestError, match=r"index = .*None, 'timestamp', \('timestamp', 'sym"):
        everything(wh, index=index)


def test_only_pandas_has_an_index(wh: Warehouse) -> None:
    with pytest.raises(RequestError, match="only pandas has one, not polars"):
        everything(wh, index="timestamp", to="polars")


# Smaller


def test_categories_and_narrow_numbers_change_no_value_and_say_what_they_save(
    wh: Warehouse,
) -> None:
    plain = everything(wh)
    small = everything(wh, categories=True, downcast=True)
    assert small.attrs["memory"] == {"plain": size_of(plain), "now": size_of(small)}
    assert size_of(small) < 0.7 * size_of(plain)
    assert {
        name: str(kind) for name, kind in small.dtypes.items() if kind != plain[name].dtype
    } == {
        **dict.fromkeys(("symbol", "exchange", "conditions"), "category"),
        **{"size": "float32", "sequence_number": "int16", "trf_id": "int8"},
    }
    for name in plain.columns:
        values = small[name]
        if isinstance(values.dtype, pd.CategoricalDtype):
            # As pandas itself would make them.
            pd.testing.assert_series_equal(values, plain[name].astype("category"))
        else:
            pd.testing.assert_series_equal(values.astype(plain[name].dtype), plain[name])
    assert small["price"].dtype == np.float64


def test_polars_and_arrow_have_categories_of_their_own(wh: Warehouse) -> None:
    plain = everything(wh, to="polars")
    small = everything(wh, to="polars", categories=True, downcast=True)
    kinds = {name: kind for name, kind in small.schema.items() if kind != plain.schema[name]}
    assert kinds == {
        **dict.fromkeys(("symbol", "conditions"), pl.Categorical),
        **{"size": pl.Float32, "sequence_number": pl.Int16, "trf_id": pl.Int8},
        "exchange": pl.Int8,
    }
    assert small.cast(dict(plain.schema)).equals(plain)
    table = everything(wh, to="arrow", categories=["id", "tape"])
    assert table.schema.field("id").type == pa.dictionary(pa.int16(), pa.string())
    assert table.schema.field("tape").type == pa.dictionary(pa.int8(), pa.int8())
    assert table["id"].cast(pa.string()).equals(everything(wh, to="arrow")["id"])


def test_numbers_that_are_absent_keep_their_absence(make_warehouse: MakeWarehouse) -> None:
    day = DAYS[0]
    made = make_warehouse({day_key("quotes", day): [quote("A", instant(day, "10:00", n), n, bid=n)
                                                    for n in range(1, 9)]})  # fmt: skip
    made.update()
    with Warehouse(made.root) as wh:
        plain = wh.quotes("A", day, day)
        small = wh.quotes("A", day, day, downcast=True, categories=["indicators"])
        assert small.attrs["memory"]["plain"] == size_of(plain)
        assert small["bid_price"].dtype == np.float32
        assert small.isna().equals(plain.isna())
        nothing = wh.quotes("A", f"{day} 03:00", f"{day} 03:01", downcast=True, categories=True)
        assert len(nothing) == 0
        assert nothing["bid_price"].dtype == np.float64


def test_what_makes_no_categories_is_refused(wh: Warehouse) -> None:
    for categories in (["price"], ["nothing"], "timestamp", 7, []):
        with pytest.raises(RequestError, match=r"categories = .*symbol, exchange, conditions"):
            everything(wh, categories=categories)
    with pytest.raises(RequestError, match="it may be True or False"):
        everything(wh, downcast="float")


# Fingerprints


ASKED = ("trades", ["MSFT", "AAPL"], DAYS[0], DAYS[1])


def test_an_answer_bears_the_id_of_what_was_asked(wh: Warehouse) -> None:
    options: tuple[dict[str, Any], ...] = (
        {},
        {"columns": ["price"]},
        {"tz": "America/New_York"},
        {"index": "timestamp"},
        {"categories": True},
        {"downcast": True},
    )
    found = [wh.load(*ASKED, **each).attrs["fingerprint"] for each in options]
    assert found == [wh.fingerprint(*ASKED, **each) for each in options]
    assert all(len(one) == 16 and int(one, 16) for one in found)
    others = [
        wh.fingerprint("trades", ["AAPL", "MSFT"], *DAYS[:2]),
        wh.fingerprint("trades", "AAPL", *DAYS[:2]),
        wh.fingerprint("quotes", "AAPL", DAYS[0], DAYS[0]),
        wh.fingerprint("trades", "AAPL", DAYS[0], DAYS[0]),
        wh.fingerprint(*ASKED, to="arrow"),
    ]
    assert len({*found, *others}) == len(found) + len(others)
    # Whole sessions and their instants are the same question.
    assert wh.fingerprint("trades", "AAPL", "2024-01-30", "2024-01-31") == wh.fingerprint(
        "trades", "AAPL", "2024-01-30 00:00", "2024-02-01 00:00-05:00"
    )
    # From memory, cut out of what is there, or read: it is the same.
    inside = wh.load("trades", "AAPL", DAYS[0], DAYS[0])
    assert inside.attrs["fingerprint"] == others[3]
    wh.cache.clear()
    assert wh.load("trades", "AAPL", DAYS[0], DAYS[0]).attrs["fingerprint"] == others[3]


SQL = "select symbol, sum(size) as n from trades where price > $p group by symbol order by symbol"


def ids_of(root: Path) -> list[str]:
    with Warehouse(root) as wh:
        return [
            wh.fingerprint(*ASKED),
            wh.fingerprint("quotes", "AAPL", DAYS[0], DAYS[0]),
            wh.query(SQL, p=1.0).attrs["fingerprint"],
            wh.query("from trades_of('AAPL') order by all").attrs["fingerprint"],
            wh.query("from exchanges order by id").attrs["fingerprint"],
        ]


def test_warehouses_made_alike_have_equal_ids_wherever_they_stand(
    make_warehouse: MakeWarehouse, made: Made, tmp_path: Path
) -> None:
    files = {key: (made.source / key).read_bytes() for key in keys(made)}
    other = make_warehouse(
        files, folder=tmp_path / "somewhere else, deeper", processing__chunk_size=1000
    )
    # In another order, one after the other: another history, the same data.
    for day in reversed(DAYS):
        other.update("trades", start=day, end=day)
    other.update()
    assert ids_of(other.root) == ids_of(made.root)
    with Warehouse(other.root) as one, Warehouse(made.root) as two:
        pd.testing.assert_frame_equal(one.load(*ASKED), two.load(*ASKED))
        pd.testing.assert_frame_equal(one.query(SQL, p=1.0), two.query(SQL, p=1.0))
    before = ids_of(other.root)
    # Publishing the same bytes again changes nothing.
    other.rebuild("trades")
    assert ids_of(other.root) == before
    # One row of one session restated changes what rests on it and nothing else.
    other.put(day_key("trades", DAYS[1]), lines(DAYS[1], price=0.01))
    other.update()
    changed = [one == two for one, two in zip(ids_of(other.root), before, strict=True)]
    assert changed == [False, True, False, False, True]
    # A table that a query reads.
    exchanges = other.root / "config/exchanges.csv"
    exchanges.write_text(exchanges.read_text("utf-8").replace("XNAS", "YNAS"), "utf-8")
    other.rebuild("quotes")
    assert ids_of(other.root)[-1] != before[-1]


def keys(made: Made) -> list[str]:
    return [path.relative_to(made.source).as_posix() for path in made.source.rglob("*.csv.gz")]


def test_a_querys_id_tells_its_text_and_values_apart(wh: Warehouse) -> None:
    found = [
        wh.query(SQL, p=1.0),
        wh.query(SQL, p=1),
        wh.query(SQL, p=2.0),
        wh.query(SQL.replace("sum", "max"), p=1.0),
        wh.query("select count(*) as n from partitions"),
        wh.query("select count(*) as n from rejects"),
    ]
    assert len({frame.attrs["fingerprint"] for frame in found}) == len(found)
    # What may change by itself has none.
    for sql in ("select now() as t", "select random() as r"):
        assert "fingerprint" not in wh.query(sql).attrs


def test_another_version_makes_another_id(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids.fingerprint("x")
    monkeypatch.setattr(ids, "_version", lambda: "99.0")
    assert ids.fingerprint("x") != before


# Too large


def test_what_memory_cannot_hold_is_refused_before_it_is_read(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_reader, "available_bytes", lambda: 50_000)
    monkeypatch.setattr(partition_reader, "_MUCH", 1_000)
    with pytest.raises(TooLargeError) as caught:
        everything(wh)
    assert str(caught.value) == (
        "trades of 'MSFT', 'AAPL', 2024-01-30 to 2024-02-01: 1,200 rows would take about 0.0 GiB"
        " (0.0 while it is put together), and 0.0 GiB of memory are free; name fewer columns=, ask"
        " for less at a time, let go of frames, or take it in batches with stream()"
    )
    assert (caught.value.rows, caught.value.available) == (1200, 50_000)
    actual = size_of(Warehouse(wh._layout.root).query("from trades"))
    assert caught.value.bytes == pytest.approx(actual, rel=0.15)
    assert caught.value.needed == 2 * caught.value.bytes
    # Fewer columns, and fewer sessions, fit.
    assert len(everything(wh, columns=["price"])) == 1200
    assert len(wh.trades("AAPL", DAYS[0], DAYS[0])) == 200


def test_the_cache_makes_room_before_an_answer_is_too_large(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it holds is memory too, and nobody waits for it."""
    first = wh.trades("AAPL", DAYS[0], DAYS[0])
    wh.trades("AAPL", DAYS[1], DAYS[1])
    wh.trades("MSFT", DAYS[0], DAYS[0])
    free = 8_000 + wh.cache.stats.bytes

    monkeypatch.setattr(partition_reader, "available_bytes", lambda: free - wh.cache.stats.bytes)
    monkeypatch.setattr(partition_reader, "_MUCH", 1_000)
    assert len(wh.trades("MSFT", DAYS[1], DAYS[1])) == 200
    # No more went than had to.
    assert 0 < wh.cache.stats.evictions < 3
    assert len(first) == 200
    with pytest.raises(TooLargeError):
        everything(wh)
    assert len(wh.cache) == 0


def test_memory_is_counted_in_gib_wherever_it_is_named_gb(made: Made) -> None:
    config = made.config
    assert config.storage.max_cache_bytes == config.storage.max_cache_memory_gb * 1024**3
    assert config.processing.memory_limit_bytes == config.processing.memory_limit_gb * 1024**3
    with Warehouse(made.root) as wh:
        assert wh.cache.stats.max_bytes == config.storage.max_cache_bytes
        limit = wh.query("select value from duckdb_settings() where name = 'memory_limit'")
        assert limit["value"].iloc[0] == f"{config.processing.memory_limit_gb:.1f} GiB"
    for module in sorted((REPOSITORY / "warehouse").rglob("*.py")):
        assert not re.search(r"_gb\b[^\n]*1e9", module.read_text("utf-8")), module.name


def test_the_limit_of_the_process_counts() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    free = process.available_bytes()
    assert 0 < free <= process.os.sysconf("SC_PHYS_PAGES") * process.os.sysconf("SC_PAGE_SIZE")
    try:
        taken = process._statm()[0]
        resource.setrlimit(resource.RLIMIT_AS, (taken + (64 << 20), hard))
        assert process.available_bytes() <= 64 << 20
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


GROUPS = {
    "first": (
        "9:name=systemd:/\n4:cpu,memory:/docker/{place}\n0::/\n",
        "memory",
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        "9223372036854771712\n",
    ),
    "second": (
        "0::/docker/{place}\n",
        "",
        ("memory.max", "memory.current", "inactive_file"),
        "max\n",
    ),
}


@pytest.mark.parametrize("seen_as", ["", "abc"])
@pytest.mark.parametrize("version", GROUPS)
def test_the_limit_of_the_container_counts(
    version: str, seen_as: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of control groups of either kind; a container may see its own as the topmost one."""
    lines, tree, (most, now, given_up), without = GROUPS[version]
    (tmp_path / "groups").write_text(lines.format(place="abc"))
    monkeypatch.setattr(process, "_GROUPS_OF_THIS", tmp_path / "groups")
    monkeypatch.setattr(process, "_CGROUPS", tmp_path)
    group = tmp_path / tree / ("docker" if seen_as else "") / seen_as
    group.mkdir(parents=True, exist_ok=True)
    (group / most).write_text("9000\n")
    (group / now).write_text("5000\n")
    (group / "memory.stat").write_text(f"anon 4000\ninactive_file 1\n{given_up} 700\n")
    assert process.available_bytes() == 4700
    (group / most).write_text(without)
    assert process.available_bytes() > 9000


# Metrics


def test_metrics_are_of_the_last_run_and_of_this_process(wh: Warehouse) -> None:
    everything(wh)
    everything(wh)
    found = wh.metrics
    assert found.records_processed == 1201
    assert found.errors_count == 0
    assert found.processing_time > 0
    assert found.cache_hit_rate == 0.5
    assert 1e7 < found.memory_usage < 1e11


def test_metrics_go_to_the_log(wh: Warehouse, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "warehouse"):
        wh.metrics.log_metrics()
    assert "'records_processed': 1201" in caplog.text


def test_a_warehouse_without_runs_has_metrics_too(make_warehouse: MakeWarehouse) -> None:
    with Warehouse(make_warehouse().root) as wh:
        assert wh.metrics.records_processed == 0


def test_ctrl_c_is_no_exception_that_a_loop_could_swallow(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*arguments: Any, **options: Any) -> None:
        # What DuckDB raises in the main thread.
        raise RuntimeError("Query interrupted")

    for name, ask in (
        ("partitions", lambda: wh.trades("AAPL", "2024-01-02")),
        ("fetch", lambda: wh.query("select count(*) from trades")),
        ("connection", lambda: wh.features("spread", "AAPL", "2024-01-02")),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Snapshot, name, pressed)
            with pytest.raises(KeyboardInterrupt):
                ask()


# Symbols


def test_symbols_and_columns_may_come_as_arrow_has_them(wh: Warehouse) -> None:
    plain = everything(wh, columns=["price", "size"])
    names = everything(wh, to="arrow")["symbol"].unique()
    columns = pa.array(["price", "size"])
    for symbols in (names, pa.chunked_array([names]), list(names)):
        found = wh.trades(symbols, DAYS[0], DAYS[-1], columns=columns)
        pd.testing.assert_frame_equal(found, plain)
    one = wh.trades(names[0], DAYS[0], columns=columns[0])
    assert list(one.columns) == ["price"]
    assert len(one) == 200


def test_one_name_may_come_as_an_array_of_no_dimension(wh: Warehouse) -> None:
    symbol, kind = np.array("AAPL"), np.array("trades")
    assert wh.trades(symbol, DAYS[0]).equals(wh.trades("AAPL", DAYS[0]))
    assert list(wh.load("trades", symbol, DAYS[0], columns=np.array("price"))) == ["price"]
    assert sum(batch.num_rows for batch in wh.stream(symbol, DAYS[0], data_types=kind)) == 200
    assert not wh.coverage("trades", symbol, DAYS[0]).empty
    with pytest.raises(RequestError, match="it must be a symbol"):
        wh.trades(np.array(5), DAYS[0])


@pytest.mark.parametrize(
    "names", [DAYS[0], pd.Timestamp(DAYS[0]), np.array(5), [["trades"]], [{"trades"}], [None], 7]
)
def test_what_names_no_data_type_is_not_taken_for_all_of_them(wh: Warehouse, names: Any) -> None:
    asked: list[Callable[[Any], Any]] = [
        lambda names: wh.update(names, dry_run=True),
        lambda names: wh.verify(names),
        lambda names: wh.validate(names),
        lambda names: wh.rebuild(names, dry_run=True),
        lambda names: wh.stream("AAPL", DAYS[0], data_types=names),
    ]
    for ask in asked:
        with pytest.raises(RequestError, match="data type = ") as caught:
            ask(names)
        assert "\n" not in str(caught.value)


def test_numbers_may_come_as_numpy_has_them(wh: Warehouse) -> None:
    plain = wh.bars("AAPL", DAYS[0], every=500, by="volume", span=20)
    for kind in (np.int64, np.uint16, np.float32):
        span = np.int8(20)
        found = wh.bars("AAPL", DAYS[0], every=kind(500), by="volume", span=span)
        pd.testing.assert_frame_equal(found, plain)
    batches = wh.stream("AAPL", DAYS[0], data_types="trades", batch_rows=np.int32(150))
    assert [batch.num_rows for batch in batches] == [150, 50]


def test_all_is_refused_where_it_would_be_the_name_of_a_symbol(wh: Warehouse) -> None:
    asked: list[Callable[[Any], Any]] = [
        lambda all_: list(wh.stream(all_, DAYS[0], data_types="trades", missing="ignore")),
        lambda all_: wh.features("order_flow_imbalance", all_, DAYS[0], missing="ignore"),
        lambda all_: wh.check_feature("vwap", all_, DAYS[0]),
        lambda all_: wh.coverage("trades", all_, DAYS[0]),
        lambda all_: wh.update("trades", DAYS[0], symbols=all_),
        lambda all_: wh.actions(all_),
    ]
    for ask in asked:
        with pytest.raises(RequestError, match="all of them cannot be asked for here"):
            ask("*")
    assert len(wh.trades("*", DAYS[0])) == 400
    # In a list it is a symbol as others are.
    with pytest.raises(NoDataError, match=r"no symbol '\*' in the warehouse"):
        wh.trades(["*"], DAYS[0])
