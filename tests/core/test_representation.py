"""What a person sees of an object, and of an error, at a prompt and in a notebook."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pandas as pd
import pytest
from building import Made, MakeWarehouse, bar, day_key, instant, quote, trade

import warehouse
from warehouse import Warehouse, WarehouseError, errors
from warehouse.core.representation import MOST, Face
from warehouse.errors import FunctionError, NoDataError, RequestError
from warehouse.maintenance.prune import PruneReport, prune
from warehouse.pipeline.download_plan import DownloadPlan
from warehouse.pipeline.validation_gate import Refused
from warehouse.validation.evaluate import ValidationResult

DAYS = (date(2024, 1, 29), date(2024, 1, 30), date(2024, 1, 31))
DAY = DAYS[0]
# A terminal's escape, a right-to-left override, a tag of HTML, and both kinds of quotes.
NASTY = '<b onclick="x">\'\x1b[31m\u202e&\n'


@pytest.fixture(scope="module")
def made(make_warehouse: MakeWarehouse) -> Made:
    files: dict[str, Any] = {}
    for day in DAYS:
        files[day_key("trades", day)] = [
            trade("AAPL", instant(day, "09:30", n), n + 1, price=n + 1) for n in range(10)
        ]
        files[day_key("quotes", day)] = [quote("AAPL", instant(day, "09:30"))]
        files[day_key("minute_aggs", day)] = [bar("AAPL", instant(day))]
    return make_warehouse(files)


@pytest.fixture(scope="module")
def shown(made: Made) -> Iterator[dict[str, Any]]:
    """Every object that a caller is handed, by the name of its class."""
    with Warehouse(made.root) as wh:
        run = wh.update()
        wh.trades("AAPL", DAY)
        wh.trades("AAPL", DAY)
        with wh.stream("AAPL", DAY, DAYS[-1]) as stream:
            every = [
                *(wh, wh.cache, stream, run, run.download, run.files[0], wh.validate()),
                *(made.verify(), made.repair(), prune(made.layout, made.config, dry_run=True)),
                *(wh.report(made.root / "report.html"), compared := wh.reconcile(keep=False)),
                *(compared.results[0], wh.rebuild_changed(), wh.check_reference()),
                result(),
                Refused("trades", DAY, Path("data/refused/x"), (result(),) * 1000),
            ]
            yield {type(one).__name__: one for one in every}


def result() -> ValidationResult:
    examples = tuple({"timestamp": "2024-01-29 14:30:00", "price": n} for n in range(5))
    return ValidationResult("error", "price_spikes", "trades", "AAPL", DAY, 12_345, examples)


NAMES = (
    *("Warehouse", "FrameCache", "Stream", "RunReport", "DownloadPlan", "StagedFile"),
    *("ValidationReport", "VerifyReport", "RepairReport", "PruneReport", "ValidationResult"),
    *("Refused", "Facts", "ReconcileReport", "TypeReconciliation", "ChangedReport"),
    "ReferenceReport",
)


def is_short(line: str) -> bool:
    return 0 < len(line) <= MOST == 200 and line.isprintable()


@pytest.mark.parametrize("name", NAMES)
def test_what_a_caller_is_handed_says_what_it_is_on_one_short_line(
    name: str, shown: dict[str, Any]
) -> None:
    line = repr(shown[name])
    assert is_short(line)
    assert line.startswith(f"{name}(")
    assert " object at 0x" not in line


@pytest.mark.parametrize("name", NAMES)
def test_in_a_notebook_it_is_a_table_of_the_same_figures(name: str, shown: dict[str, Any]) -> None:
    html = shown[name]._repr_html_()
    assert html.startswith(f"<table><caption>{name}</caption><tr>")
    figures = [figure for figure in shown[name]._face().values() if figure is not None]
    assert html.count("<tr>") == html.count("</td></tr>") == len(figures) > 0


def test_no_class_that_has_a_face_shows_all_of_its_fields_in_its_place() -> None:
    for module in walk_packages(warehouse.__path__, "warehouse."):
        if module.name != "warehouse.__main__":
            import_module(module.name)
    pending, found = [Face], set()
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        found |= {kind} if kind.__module__.startswith("warehouse.") else set()
    assert len(found) > len(NAMES)
    assert [kind for kind in found if kind.__repr__ is not Face.__repr__] == []


def test_the_figures_are_those_of_the_object(made: Made, shown: dict[str, Any]) -> None:
    assert repr(shown["Warehouse"]) == f"Warehouse({str(made.root)!r})"
    assert re.fullmatch(
        r"FrameCache\(entries=1, bytes=[\d,]+, max_bytes=[\d,]+, hits=1, misses=1, evictions=0\)",
        repr(shown["FrameCache"]),
    )
    assert repr(shown["RunReport"]) == (
        "RunReport('update', files_read=9, rows_published=36, rows_rejected=0, files_fetched=9,"
        f" findings={len(shown['RunReport'].findings)})"
    )
    report = shown["ValidationReport"]
    counts = f"errors={len(report.errors)}, warnings={len(report.warnings)}, allowed=0, rules="
    assert repr(report).startswith(f"ValidationReport({counts}{len(report.rules)}, types='trades, ")
    assert repr(shown["VerifyReport"]).startswith("VerifyReport(faults=0, files=")
    assert repr(shown["RepairReport"]) == (
        "RepairReport(found=0, mended=0, left=0, restored=0, remade=0, moved=0)"
    )
    assert repr(shown["ValidationResult"]) == (
        "ValidationResult('error', rule='price_spikes', data_type='trades', symbol='AAPL',"
        " session=2024-01-29, count=12,345)"
    )


def test_a_run_says_what_went_wrong_with_it(shown: dict[str, Any]) -> None:
    run = shown["RunReport"]
    bad = replace(run.files[0], problem="it is cut short")
    said = repr(replace(run, files=[bad, *run.files[1:]], refused=[shown["Refused"]]))
    assert "refused=1, set_aside=1" in said


def test_a_stream_says_whether_there_is_more_of_it(shown: dict[str, Any], made: Made) -> None:
    with Warehouse(made.root) as wh:
        stream = wh.stream("AAPL", DAY, DAYS[-1], batch_rows=10)
        next(stream)
        assert repr(stream).startswith("Stream('open', batch_rows=10, columns='type, symbol, ")
        assert sum(len(batch) for batch in stream) == 23
        assert repr(stream).startswith("Stream('ended', ")
        closed = wh.stream("AAPL", DAY)
        closed.close()
        assert repr(closed).startswith("Stream('ended', ")


def test_a_face_asks_nothing_of_the_disk_and_waits_for_no_lock(
    make_warehouse: MakeWarehouse,
) -> None:
    gone = make_warehouse()
    wh = Warehouse(gone.root)
    with wh.cache._lock:
        assert is_short(repr(wh.cache))
    wh.close()
    os.rename(gone.root, f"{gone.root}-elsewhere")
    assert repr(wh) == f"Warehouse({str(gone.root)!r}, closed=True)"


class Odd(Face):
    def __init__(self, **figures: Any) -> None:
        self.figures = figures

    def _face(self) -> dict[str, Any]:
        return self.figures


@pytest.mark.parametrize(
    "value",
    [NASTY, Path(NASTY), NASTY * 100, "\udcff" * 500, "x" * 5000, 10**300, [NASTY] * 100, None],
    ids=["text", "path", "long", "surrogates", "one-word", "number", "list", "none"],
)
def test_whatever_a_name_holds_the_line_is_short_and_no_terminal_or_page_obeys_it(
    value: Any,
) -> None:
    one = Odd(**{"": value, "more": value, "last": 1})
    assert is_short(repr(one))
    html = one._repr_html_()
    inner = re.sub(r"</?(?:table|caption|tr|th|td)>", "", html)
    assert not set("<>\"'") & set(inner)
    assert html.isprintable()
    assert len(html) < 2000


def test_of_a_long_path_both_ends_are_shown() -> None:
    said = repr(Odd(folder=Path("/market", *["deep"] * 100, "warehouse")))
    assert "/market/deep" in said
    assert said.endswith("/warehouse')")


def test_reports_of_ten_thousand_files_are_as_short(shown: dict[str, Any]) -> None:
    many = replace(shown["RunReport"], files=shown["RunReport"].files * 10_000)
    assert is_short(repr(many))
    plan = DownloadPlan(fetch=shown["DownloadPlan"].fetch * 10_000)
    assert is_short(repr(plan))
    assert is_short(repr(PruneReport(bytes=10**15)))


# What was meant


@pytest.mark.parametrize(
    ("ask", "meant"),
    [
        (lambda wh: wh.load("trade", "AAPL", DAY), "trades"),
        (lambda wh: wh.load("Quotes", "AAPL", DAY), "quotes"),
        (lambda wh: wh.coverage(["minute_agg"], "AAPL", DAY), "minute_aggs"),
        (lambda wh: wh.stream("AAPL", DAY, data_types=["trades", "qoutes"]), "quotes"),
        (lambda wh: wh.symbols("dayaggs"), "day_aggs"),
        (lambda wh: wh.update("trade"), "trades"),
        (lambda wh: wh.aggs("AAPL", DAY, freq="minutes"), "minute"),
        (lambda wh: wh.trades("AAPL", DAY, columns=["prise"]), "price"),
        (lambda wh: wh.stream("AAPL", DAY, columns=["bidprice"]), "bid_price"),
        (lambda wh: wh.trades("AAPL", DAY, to="panda"), "pandas"),
        (lambda wh: wh.query("select 1", "Arrow"), "arrow"),
        (lambda wh: wh.stream("AAPL", DAY, to="row"), "rows"),
        (lambda wh: wh.features("spread", "AAPL", DAY, to="polar"), "polars"),
        (lambda wh: wh.trades("AAPL", DAY, index="timestmap"), "timestamp"),
        (lambda wh: wh.trades("AAPL", DAY, index=("timestamp", "symbols")), "symbol"),
        (lambda wh: wh.trades("AAPL", DAY, categories=["exchnge"]), "exchange"),
        (lambda wh: wh.trades("AAPL", DAY, missing="ignored"), "ignore"),
        (lambda wh: wh.features("spread", "AAPL", DAY, missing="rise"), "raise"),
        (lambda wh: wh.catalog("partition"), "partitions"),
        (lambda wh: wh.features("Spraed", "AAPL", DAY), "spread"),
        (lambda wh: wh.features("volume_ma", "AAPL", DAY, period=3), "periods"),
        (lambda wh: wh.features("volume_ma", "AAPL", DAY, freq="min"), "minute"),
        (lambda wh: wh.validate(rules="crossed_quote"), "crossed_quotes"),
    ],
)
def test_a_misspelt_name_is_told_the_one_that_was_meant(
    ask: Callable[[Warehouse], Any], meant: str, made: Made, shown: dict[str, Any]
) -> None:
    with Warehouse(made.root) as wh, pytest.raises(RequestError) as caught:
        ask(wh)
    assert str(caught.value).endswith(f"; did you mean {meant}?")


@pytest.mark.parametrize(
    ("ask", "meant"),
    [
        (lambda wh: wh.trades("AAPL", DAY, colums=["price"]), "columns"),
        (lambda wh: wh.quotes(symbol="AAPL", start=DAY), "symbols"),
        (lambda wh: wh.aggs("AAPL", DAY, freqency="day"), "freq"),
        (lambda wh: wh.load("trades", "AAPL", DAY, too="arrow"), "to"),
        (lambda wh: wh.fingerprint("trades", "AAPL", DAY, columms=1), "columns"),
        (lambda wh: wh.coverage("trades", "AAPL", DAY, ends=DAY), "end"),
        (lambda wh: wh.stream("AAPL", DAY, data_typs="trades"), "data_types"),
        (lambda wh: wh.update(symbol="AAPL"), "symbols"),
        (lambda wh: wh.validate(rule="time_gaps"), "rules"),
    ],
)
def test_a_misspelt_keyword_is_told_the_one_that_was_meant(
    ask: Callable[[Warehouse], Any], meant: str, made: Made
) -> None:
    with Warehouse(made.root) as wh, pytest.raises(RequestError) as caught:
        ask(wh)
    assert str(caught.value).endswith(f"; did you mean {meant}?")


def test_a_name_that_is_near_none_gets_no_guess(made: Made) -> None:
    with Warehouse(made.root) as wh:
        for ask in (
            lambda: wh.load("xyz", "AAPL", DAY),
            lambda: wh.trades("AAPL", DAY, to=None),  # type: ignore[arg-type]
            lambda: wh.trades("AAPL", DAY, index="zz"),
            lambda: wh.trades("AAPL", DAY, columns=[7]),  # type: ignore[list-item]
        ):
            with pytest.raises(RequestError) as caught:
                ask()
            assert "did you mean" not in str(caught.value)


# Errors


def test_a_typo_in_a_notebook_ends_in_one_line(made: Made) -> None:
    with Warehouse(made.root) as wh:
        with pytest.raises(RequestError) as caught:
            wh.load("trade", "AAPL", DAY)
        assert caught.value._render_traceback_() == [
            "RequestError: data type = 'trade': it may be trades, quotes, minute_aggs, day_aggs;"
            " did you mean trades?"
        ]


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, WarehouseError)
    ],
)
def test_every_error_raised_on_purpose_is_lines_that_no_terminal_obeys(
    kind: type[WarehouseError],
) -> None:
    error = errors._again(kind, (NASTY,))
    error.add_note(NASTY)
    lines = error._render_traceback_()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert lines[0].startswith(f"{kind.__name__}: ")


@pytest.mark.usefixtures("shown")
def test_the_traceback_of_a_callers_function_is_as_many_lines_in_a_notebook(made: Made) -> None:
    def wrong(trades: pd.DataFrame) -> float:
        return len(trades) / 0

    with Warehouse(made.root) as wh, pytest.raises(FunctionError) as caught:
        wh.map(wrong, "AAPL", DAY)
    first, *traceback = caught.value._render_traceback_()
    assert first.endswith("of the rows of AAPL: ZeroDivisionError: division by zero")
    assert traceback[0] == "Traceback (most recent call last):"
    assert "        return len(trades) / 0" in [f"    {line}" for line in traceback]
    assert traceback[-1] == "ZeroDivisionError: division by zero"
    assert not any("\\n" in line for line in traceback)


def test_a_value_that_was_given_is_not_shown_without_end(made: Made) -> None:
    with Warehouse(made.root) as wh:
        for ask in (
            lambda: wh.trades([*map(str, range(10_000)), 1], DAY),  # type: ignore[list-item]
            lambda: wh.load(pd.DataFrame({"x": range(1000)}), "AAPL", DAY),  # type: ignore[arg-type]
            lambda: wh.load("x" * 100_000, "AAPL", DAY),
        ):
            with pytest.raises(RequestError) as caught:
                ask()
            assert len(str(caught.value)) < 400
        with pytest.raises(NoDataError) as told:
            wh.trades("A" * 1_000_000, DAY)
        assert len(str(told.value)) < 1_000


def test_ipython_shows_the_one_line_and_of_other_errors_the_traceback(tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    program = """if True:
        from IPython.core.interactiveshell import InteractiveShell
        from warehouse.errors import RequestError
        shell = InteractiveShell()
        shell.user_ns["error"] = RequestError("to", "panda", "it may be pandas")
        print("first"); shell.run_cell("raise error")
        print("second"); shell.run_cell("1 / 0")
    """
    said = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "IPYTHONDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    first, second = said.split("second\n")
    assert first == "first\nRequestError: to = 'panda': it may be pandas\n"
    assert "Traceback" in second
    assert "ZeroDivisionError" in second
