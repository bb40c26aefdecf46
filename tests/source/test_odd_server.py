"""Answers that are not S3's end in one line, soon, and in little memory."""

from __future__ import annotations

import gzip
import itertools
import json
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from building import Made, bar, csv_text, instant, make, trade
from click.testing import CliRunner
from oddserver import OddServer, http, listing, xml

from warehouse.cli.main import cli
from warehouse.core.config import DownloadConfig
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import RawFile
from warehouse.errors import SourceError, WarehouseError
from warehouse.source.folder import Unlisted
from warehouse.source.s3 import S3Source
from warehouse.source.transfer import SourceObject
from warehouse.source.unexpected_layout import instead

DAY = date(2024, 1, 2)
KEY = "us_stocks_sip/trades_v1/2024/01/2024-01-02.csv.gz"
ENVIRON = {"POLYGON_S3_ACCESS_KEY": "AKIA", "POLYGON_S3_SECRET": "secret"}
SETTINGS = DownloadConfig(
    retry_attempts=1, timeout_seconds=1, min_bytes_per_second=1, concurrent_downloads=2
)
ONE = (KEY, 10, "e")


def source(endpoint: str) -> S3Source:
    return S3Source("s3://flatfiles", endpoint, SETTINGS, environ=ENVIRON, first_pause=0.01)


def listed(s3: S3Source, complain: Callable[[Unlisted], None] = print) -> list[SourceObject]:
    return list(s3.list(DATA_TYPES["trades"], "day", DAY, DAY, complain))


def endless(start: bytes, piece: bytes) -> Iterator[bytes]:
    return itertools.chain([start], itertools.repeat(piece))


def pages(token: Callable[[int], str], items: bool = True) -> Callable[[str], bytes]:
    """A list that always says that there is more."""
    numbers = itertools.count()

    def page(line: str) -> bytes:
        number = next(numbers)
        head = "<IsTruncated>true</IsTruncated>"
        head += f"<NextContinuationToken>{token(number)}</NextContinuationToken>"
        return xml(listing([(f"{KEY}{number}", 1, "e")] if items else [], head))

    return page


TRUE = "<IsTruncated>true</IsTruncated>"
FALSE = "<IsTruncated>false</IsTruncated>"
ENTITY = f'<!DOCTYPE x [<!ENTITY a "{"a" * 2_000_000}">]>'
NAMED = f"<Contents><Key>{'&a;' * 95}</Key><Size>1</Size><ETag>e</ETag></Contents>"
FEW_HEADERS = b"HTTP/1.1 200 OK\r\n\r\n"
ANSWERS: dict[str, Callable[[str], object]] = {
    "no size": lambda line: xml(
        f"<ListBucketResult>{FALSE}<Contents><Key>{KEY}</Key><ETag>e</ETag></Contents>"
        "</ListBucketResult>"
    ),
    "no ETag": lambda line: xml(
        f"<ListBucketResult>{FALSE}<Contents><Key>{KEY}</Key><Size>1</Size></Contents>"
        "</ListBucketResult>"
    ),
    "no key": lambda line: xml(
        f"<ListBucketResult>{FALSE}<Contents><Size>1</Size><ETag>e</ETag></Contents>"
        "</ListBucketResult>"
    ),
    "no word of an end": lambda line: xml(listing([ONE], "")),
    "more without a token": lambda line: xml(listing([ONE], TRUE)),
    "a size that is text": lambda line: xml(listing([(KEY, "many", "e")])),
    "a size that is a fraction": lambda line: xml(listing([(KEY, "1.5", "e")])),
    "a size of ten thousand digits": lambda line: xml(listing([(KEY, "9" * 10_000, "e")])),
    "another document": lambda line: xml("<html><body>Welcome</body></html>"),
    "no document": lambda line: http(
        "200 OK", b"<html><body>Welcome<br>", "Content-Type: text/html"
    ),
    "nothing": lambda line: http("200 OK", b""),
    "a condition that nobody made": lambda line: http("412 Precondition Failed", b""),
    "a range that nobody asked for": lambda line: http("416 Range Not Satisfiable", b""),
    "nested without end": lambda line: xml("<a>" * 200_000),
    "entities": lambda line: xml(f"{ENTITY}<ListBucketResult>{FALSE}{NAMED}</ListBucketResult>"),
    "entities in UTF-16": lambda line: http(
        "200 OK", f"{ENTITY}<ListBucketResult>{FALSE}{NAMED}</ListBucketResult>".encode("utf-16")
    ),
    "elements without end": lambda line: xml(
        f"<ListBucketResult>{FALSE}{'<Contents/>' * 1_400_000}</ListBucketResult>"
    ),
    "a key longer than S3's": lambda line: xml(listing([(KEY + "é" * 600, 1, "e")])),
    "moved": lambda line: http("301 Moved Permanently", b""),
    "moved to itself": lambda line: http("307 Temporary Redirect", b"", "Location: /"),
    "moved for good": lambda line: http("308 Permanent Redirect", b"", "Location: http://[::1]:1/"),
    "moved without saying where": lambda line: http("307 Temporary Redirect", b""),
    "moved to no place": lambda line: http("301 Moved", b"", "Location: /nowhere/at/all"),
    "a gzip": lambda line: http("200 OK", b"\x1f\x8b\x08\x00", "Content-Encoding: gzip"),
    "no answer of HTTP": lambda line: b"SSH-2.0-OpenSSH\r\n\r\n",
    "an endless page": lambda line: endless(
        FEW_HEADERS + b"<ListBucketResult>", b"<!-- -->" * 8_000
    ),
    "an endless refusal": lambda line: endless(b"HTTP/1.1 403 No\r\n\r\n", b"x" * 64_000),
    "endless headers": lambda line: endless(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 1_000),
    "a token that repeats": pages(lambda number: "again"),
    "two tokens in turn": pages(lambda number: str(number % 2)),
    "empty pages without end": pages(str, items=False),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_list_that_is_none_of_s3s_is_one_line(name: str, tmp_path: Path) -> None:
    with OddServer(answers=ANSWERS[name]) as odd:
        tracemalloc.start()
        try:
            with pytest.raises(SourceError) as caught:
                listed(source(odd.endpoint))
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500
        assert most < 100 << 20
        assert len(odd.lines) <= 100
        assert odd.sent < 100 << 20


def dripping(start: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces that come long before a read would be given up, and too long in all."""
    yield start
    for piece in itertools.islice(pieces, 1_000):
        time.sleep(0.02)
        yield piece


def bytes_of(text: bytes) -> Iterator[bytes]:
    return (bytes([each]) for each in itertools.cycle(text))


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
DRIPPING: dict[str, Callable[[str], object]] = {
    "one Continue after the other": lambda line: dripping(
        b"", itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n")
    ),
    "a Continue with headers without end": lambda line: dripping(
        b"HTTP/1.1 100 Continue\r\n", itertools.repeat(b"a: b\r\n")
    ),
    "a status byte by byte": lambda line: dripping(b"HTTP/1.1 200 ", bytes_of(b"O")),
    "a header byte by byte": lambda line: dripping(b"HTTP/1.1 200 OK\r\na: ", bytes_of(b"x")),
    "a page byte by byte": lambda line: dripping(FEW_HEADERS, bytes_of(b"<!-- -->")),
    "a chunk's size byte by byte": lambda line: dripping(CHUNKED, bytes_of(b"0")),
    "trailers without end": lambda line: dripping(
        CHUNKED + b"0\r\n", itertools.repeat(b"a: b\r\n")
    ),
    "a refusal's trailers": lambda line: dripping(
        CHUNKED.replace(b"200 OK", b"403 No") + b"0\r\n", itertools.repeat(b"a: b\r\n")
    ),
}


@pytest.mark.parametrize("name", DRIPPING)
def test_an_answer_that_drips_without_end_is_given_up(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warehouse.source.s3client._PATIENCE", 0.5)
    with (
        OddServer(answers=DRIPPING[name]) as odd,
        pytest.raises(SourceError, match="no answer in time") as caught,
    ):
        listed(source(odd.endpoint))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["one Continue after the other", "a header byte by byte"])
def test_a_file_whose_head_drips_without_end_is_given_up(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warehouse.source.s3client._PATIENCE", 0.5)
    target = tmp_path / "file.csv.gz"
    with OddServer(b"x" * 1_000, "e", answers=DRIPPING[name]) as odd:
        (done,) = source(odd.endpoint).fetch_all([(odd.item(), target)])
    assert "no answer in time" in str(done.problem)
    assert not target.exists()


@pytest.mark.parametrize("name", ["no size", "another document", "a token that repeats", "moved"])
def test_a_command_ends_with_status_2_and_no_traceback(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in ENVIRON.items():
        monkeypatch.setenv(variable, value)
    with OddServer(answers=ANSWERS[name]) as odd:
        made = make(
            tmp_path,
            source__url="s3://flatfiles",
            source__endpoint=odd.endpoint,
            download__retry_attempts=0,
        )
        arguments = ["-C", str(made.root), "update", "trades", "--start", str(DAY)]
        result = CliRunner().invoke(cli, [*arguments, "--end", str(DAY)])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: source s3://flatfiles: ")
    assert result.stderr.count("\n") == 1


def test_of_an_errors_code_no_more_is_shown_than_a_code_has(tmp_path: Path) -> None:
    body = b"<Error><Code>" + b"x" * 1_000_000 + b"</Code></Error>"
    with (
        OddServer(
            answers=lambda line: http("400 No", body, "Content-Type: application/xml")
        ) as odd,
        pytest.raises(SourceError, match="answers 400 x") as caught,
    ):
        listed(source(odd.endpoint))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("status", [403, 503])
def test_of_a_page_with_a_document_type_the_status_counts(status: int) -> None:
    page = b"<!DOCTYPE html><html><body>Welcome</body></html>"
    with (
        OddServer(answers=lambda line: http(f"{status} No", page)) as odd,
        pytest.raises(SourceError, match=f"{status}|may not list"),
    ):
        listed(source(odd.endpoint))


def test_of_a_long_key_the_beginning_is_shown() -> None:
    with OddServer(answers=lambda line: xml(listing([("x" * 1_024, 1, "e")]))) as odd:
        names = source(odd.endpoint).names()
    assert len(names) == 1
    assert len(instead(names, "s3://flatfiles", DATA_TYPES["trades"], "day")) < 400


def test_a_list_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warehouse.source.s3._MAX_KEYS", 50)
    with (
        OddServer(answers=pages(str)) as odd,
        pytest.raises(SourceError, match="does not end"),
    ):
        listed(source(odd.endpoint))
    assert len(odd.lines) <= 60


@pytest.mark.parametrize("word", ["true", "True", "TRUE", "1", " true ", "false"])
def test_a_list_goes_on_where_it_gives_a_token_however_it_spells_that_there_is_more(
    word: str,
) -> None:
    other = KEY.replace("-02.", "-03.")

    def answer(line: str) -> bytes:
        if "continuation-token" in line:
            return xml(listing([(other, 8, "e")]))
        head = f"<IsTruncated>{word}</IsTruncated>"
        head += "<NextContinuationToken>more</NextContinuationToken>"
        return xml(listing([(KEY, 7, "e")], head))

    with OddServer(answers=answer) as odd:
        s3 = source(odd.endpoint)
        taken = list(s3.list(DATA_TYPES["trades"], "day", DAY, date(2024, 1, 3), print))
    assert [item.key for item in taken] == [KEY, other]


def test_odd_entries_of_a_list_are_told_of_and_the_others_are_taken() -> None:
    other = KEY.replace("-02.", "-03.")
    items = [
        (KEY, -5, "e"),
        (KEY, 10**30, "e"),
        (KEY, 1, "e&#233;"),
        (KEY, 1, "x" * 1_000),
        (KEY.upper(), 1, "e"),
        (f"../{KEY}", 1, "e"),
        ("etc/passwd", 1, "e"),
        (KEY.replace("2024-01-02", "2024-13-45"), 1, "e"),
        (other, 7, "good"),
        (other, 7, "good"),
    ]
    found: list[Unlisted] = []
    with OddServer(answers=lambda line: xml(listing(items))) as odd:
        s3 = source(odd.endpoint)
        taken = list(s3.list(DATA_TYPES["trades"], "day", DAY, date(2024, 1, 3), found.append))
    assert [(item.key, item.size, item.etag) for item in taken] == [(other, 7, "good")]
    assert {each.key for each in found} == {KEY}
    assert len(found) == 4


def test_a_day_of_which_a_list_has_another_form_alone_is_told_of() -> None:
    gunzipped = KEY.replace("-02.csv.gz", "-03.csv")
    beside = KEY.removesuffix(".gz")
    found: list[Unlisted] = []
    items = [(KEY, 7, "good"), (beside, 1, "e"), (gunzipped, 1, "e")]
    with OddServer(answers=lambda line: xml(listing(items))) as odd:
        s3 = source(odd.endpoint)
        taken = list(s3.list(DATA_TYPES["trades"], "day", DAY, date(2024, 1, 3), found.append))
    assert [item.key for item in taken] == [KEY]
    assert [(each.key, each.is_misnamed) for each in found] == [(gunzipped, True)]


def error(status: str, code: str) -> bytes:
    body = f"<Error><Code>{code}</Code></Error>".encode()
    return http(status, body, "Content-Type: application/xml")


NOT_LISTED = {
    "may not list the bucket (403 AccessDenied)": error("403 No", "AccessDenied"),
    "the server answers 500": error("500 No", "InternalError"),
    "gives an answer that is none of S3's": ANSWERS["no key"](""),
}


def warehouse_of(odd: OddServer, root: Path) -> Made:
    return make(
        root,
        source__url="s3://flatfiles",
        source__endpoint=odd.endpoint,
        download__retry_attempts=0,
    )


def updated(made: Made, types: list[str], start: date = DAY) -> tuple[int, str, int]:
    """An update: its exit status, what a person is told, how many partitions there are."""
    arguments = ["-C", str(made.root), "update", *types, "--start", str(start), "--end", str(DAY)]
    result = CliRunner().invoke(cli, arguments)
    return result.exit_code, result.output, len(made.partitions())


@pytest.mark.parametrize("problem", list(NOT_LISTED)[:2])
@pytest.mark.parametrize("types", [["quotes", "trades"], ["trades", "quotes"]])
def test_a_data_type_that_is_not_listed_is_named_and_the_others_come(
    problem: str, types: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in ENVIRON.items():
        monkeypatch.setenv(variable, value)
    body = gzip.compress(csv_text("trades", [trade("A", instant(DAY, "10:00"), 1)]).encode())
    with OddServer(body, "e") as odd:
        made = warehouse_of(odd, tmp_path)
        odd.answers = lambda line: NOT_LISTED[problem] if "quotes_v1" in line else None
        status, told, partitions = updated(made, types)
        assert (status, partitions) == (1, 1)
        assert "us_stocks_sip/quotes_v1 cannot be listed: " in told
        assert problem in told
        odd.answers = lambda line: None
        assert "cannot be listed" not in updated(made, types)[1]


@pytest.mark.parametrize(
    ("month", "problem"),
    [
        *(("2023%2F12", problem) for problem in NOT_LISTED),
        # A server that begins with what is none of S3's is none.
        *(("2023%2F11", problem) for problem in list(NOT_LISTED)[:2]),
    ],
)
def test_a_month_that_is_not_listed_is_named_and_those_after_it_come(
    month: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in ENVIRON.items():
        monkeypatch.setenv(variable, value)
    body = gzip.compress(csv_text("trades", [trade("A", instant(DAY, "10:00"), 1)]).encode())
    with OddServer(body, "e") as odd:
        odd.answers = lambda line: NOT_LISTED[problem] if month in line else None
        status, told, partitions = updated(
            warehouse_of(odd, tmp_path), ["trades"], date(2023, 11, 1)
        )
    assert (status, partitions) == (1, 1)
    assert "us_stocks_sip/trades_v1 cannot be listed: " in told
    assert problem in told


def test_what_came_before_and_is_not_listed_now_keeps_no_other_data_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in ENVIRON.items():
        monkeypatch.setenv(variable, value)
    body = gzip.compress(csv_text("trades", [trade("A", instant(DAY, "10:00"), 1)]).encode())
    with OddServer(body, "e") as odd:
        made = warehouse_of(odd, tmp_path)
        updated(made, ["trades"])
        of_day_bars = f"us_stocks_sip/day_aggs_v1/2024/01/{DAY}.csv.gz"
        day_bar = gzip.compress(csv_text("day_aggs", [bar("A", instant(DAY, "00:00"))]).encode())

        def answers(line: str) -> object:
            if "trades_v1%2F2024%2F01" in line:
                return xml(listing([]))
            if "trades_v1" in line and "list-type" in line:
                return NOT_LISTED["the server answers 500"]
            if "day_aggs_v1" in line and "list-type" not in line:
                return http("200 OK", day_bar, 'ETag: "f"')
            return xml(listing([(of_day_bars, len(day_bar), "f")])) if "day_aggs" in line else None

        odd.answers = answers
        status, told, partitions = updated(made, ["trades", "day_aggs"])
    assert (status, partitions) == (1, 2)
    assert "us_stocks_sip/trades_v1 cannot be listed: " in told


BODY = b"x" * 1_000
LYING: dict[str, Callable[[str], object]] = {
    "no ETag": lambda line: http("206 Partial", BODY, "Content-Range: bytes 0-999/1000"),
    "another range": lambda line: http(
        "206 Partial", BODY, 'ETag: "e"', "Content-Range: bytes 1-1000/1000"
    ),
    "a range that is none": lambda line: http(
        "206 Partial", BODY, 'ETag: "e"', "Content-Range: pages 1-2"
    ),
    "too few bytes": lambda line: [
        b'HTTP/1.1 206 Partial\r\nContent-Length: 1000\r\nETag: "e"\r\n'
        b"Content-Range: bytes 0-999/1000\r\nConnection: close\r\n\r\nxx"
    ],
    "a length that is none": lambda line: (
        b'HTTP/1.1 206 Partial\r\nContent-Length: some\r\nETag: "e"\r\n\r\n'
    ),
    "a length below nothing": lambda line: (
        b'HTTP/1.1 206 Partial\r\nContent-Length: -7\r\nETag: "e"\r\n\r\n'
    ),
    "moved": lambda line: http("307 Temporary Redirect", b"", "Location: /"),
    "an endless refusal": lambda line: endless(b"HTTP/1.1 404 No\r\n\r\n", b"x" * 64_000),
    "other bytes": lambda line: http(
        "206 Partial",
        BODY,
        'ETag: "e"',
        "Content-Range: bytes 0-999/1000",
        "Content-Encoding: gzip",
    ),
    "all of it twice": lambda line: http("200 OK", BODY * 2, 'ETag: "e"'),
}


OF_ONE_FILE = {
    "it may be encrypted with a key that must be sent along": error("400 No", "InvalidRequest"),
    "it is archived; restore it in the bucket first": error("403 No", "InvalidObjectState"),
    "the server answers 400 KMS.DisabledException": error("400 No", "KMS.DisabledException"),
    "the server answers 405": error("405 No", "MethodNotAllowed"),
    "the server answers that it has no such version": http("416 No", b""),
}


def told_of_one_of_two(
    answer: Callable[[str], object], folder: Path, *, lists_first: bool
) -> tuple[str, str]:
    """The key of a file about which a server answers like this, and what is told of it.

    Another file, about which it answers well, has come.
    """
    body = gzip.compress(b"ticker\nA\n")
    with OddServer(body, "e-1-2") as odd:
        s3 = source(odd.endpoint)
        assert not lists_first or listed(s3)
        other = RawFile("trades", date(2024, 1, 3))
        refused = replace(odd.item(), file=other, key=other.key)
        odd.answers = lambda line: answer(line) if other.key in line else None
        wanted = [(one, folder / f"{one.file.day}") for one in (refused, odd.item())]
        done = {one.item.file: one for one in s3.fetch_all(wanted)}
    assert done[odd.item().file].problem is None
    assert (folder / f"{odd.item().file.day}").read_bytes() == body
    assert done[other].problem is not None
    return other.key, str(done[other].problem)


@pytest.mark.parametrize("problem", OF_ONE_FILE)
def test_a_file_that_a_server_refuses_does_not_keep_the_others(
    problem: str, tmp_path: Path
) -> None:
    _, told = told_of_one_of_two(lambda line: OF_ONE_FILE[problem], tmp_path, lists_first=False)
    assert problem in told
    assert "\n" not in told


ODD_OF_ONE_FILE: dict[str, Callable[[str], object]] = {
    "moved": lambda line: http("307 Temporary Redirect", b"", "Location: /"),
    "not modified": lambda line: b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "not implemented": lambda line: error("501 No", "NotImplemented"),
    "a length that is none": LYING["a length that is none"],
    "a date that is none": lambda line: http("200 OK", BODY, 'ETag: "e"', "Last-Modified: never"),
    "a refusal that is too long": lambda line: endless(b"HTTP/1.1 404 No\r\n\r\n", b"x" * 64_000),
}


@pytest.mark.parametrize("name", ODD_OF_ONE_FILE)
def test_an_odd_answer_about_one_file_keeps_no_other_from_a_server_that_has_listed_them(
    name: str, tmp_path: Path
) -> None:
    key, told = told_of_one_of_two(ODD_OF_ONE_FILE[name], tmp_path, lists_first=True)
    assert key in told
    assert "\n" not in told


@pytest.mark.parametrize("place", ["month", "month/a", "month/a.part", "month/a.part link"])
def test_what_stands_in_the_way_of_one_raw_file_keeps_no_other(place: str, tmp_path: Path) -> None:
    body = gzip.compress(b"ticker\nA\n")
    if place == "month":
        (tmp_path / place).write_text("")
    elif place.endswith(" link"):
        place = place.removesuffix(" link")
        (tmp_path / "month").mkdir()
        (tmp_path / "mine").write_text("mine")
        (tmp_path / place).symlink_to(tmp_path / "mine")
    else:
        (tmp_path / place).mkdir(parents=True)
    with OddServer(body, "e-1-2") as odd:
        day = odd.item().file.day
        other = replace(odd.item(), file=RawFile("trades", date(2024, 1, 3)))
        wanted = [(odd.item(), tmp_path / "month/a"), (other, tmp_path / "else" / "b")]
        done = {one.item.file.day: one for one in source(odd.endpoint).fetch_all(wanted)}
    assert f"{tmp_path / place}: " in str(done[day].problem)
    assert not (tmp_path / "mine").exists() or (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "else" / "b").read_bytes() == body


@pytest.mark.parametrize("name", LYING)
def test_a_file_that_a_server_lies_about_is_never_kept(name: str, tmp_path: Path) -> None:
    target = tmp_path / "file.csv.gz"
    with OddServer(BODY, "e", answers=LYING[name]) as odd:
        s3 = source(odd.endpoint)
        try:
            (done,) = s3.fetch_all([(odd.item(), target)])
            problem: BaseException | None = done.problem
        except WarehouseError as error:
            problem = error
        assert odd.sent < 200 << 20
    assert problem is not None
    assert "\n" not in str(problem)
    assert not target.exists()
    assert json.dumps(str(problem))


@pytest.mark.parametrize("size", [10**13, 10**17])
def test_a_file_that_is_replaced_by_one_that_no_disk_holds_is_one_line(
    size: int, tmp_path: Path
) -> None:
    """Each piece of a file takes memory before it comes: room is looked for first."""

    def answers(line: str) -> bytes:
        if line.startswith("HEAD"):
            return f'HTTP/1.1 200 OK\r\nETag: "f"\r\nContent-Length: {size}\r\n\r\n'.encode()
        return http("412 Precondition Failed", b"")

    with OddServer(BODY, "e", answers=answers) as odd:
        tracemalloc.start()
        try:
            (done,) = source(odd.endpoint).fetch_all([(odd.item(), tmp_path / "file.csv.gz")])
            assert tracemalloc.get_traced_memory()[1] < 100 << 20
        finally:
            tracemalloc.stop()
    assert f"replaced by one of {size:,} bytes, and " in str(done.problem)
    assert "\n" not in str(done.problem)


@pytest.mark.parametrize("moment", ["99999999999999999", "1e999"])
def test_a_file_of_a_day_that_no_calendar_has_is_one_line(moment: str, tmp_path: Path) -> None:
    def answers(line: str) -> bytes | None:
        if "list-type" in line:
            return None
        return http("206 Partial", BODY, 'ETag: "e"', f"Last-Modified: {moment}")

    with OddServer(BODY, "e", answers=answers) as odd:
        s3 = source(odd.endpoint)
        assert listed(s3)
        (done,) = s3.fetch_all([(odd.item(), tmp_path / "file.csv.gz")])
    assert odd.item().key in str(done.problem)
    assert "\n" not in str(done.problem)
