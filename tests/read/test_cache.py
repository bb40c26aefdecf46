"""The memory cache keeps its laws: exact bytes, the oldest go first, nobody changes another's."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from warehouse.read.cache import FrameCache, Held
from warehouse.read.frames import as_form, size_of

UNIT = 800
EMPTY = size_of(pd.DataFrame({"x": np.array([], np.int64)}))


def frame(units: int = 1, value: int = 0) -> pd.DataFrame:
    """A frame of `units` × UNIT bytes, and EMPTY for its index."""
    return pd.DataFrame({"x": np.full(units * UNIT // 8, value, np.int64)})


def weight(units: int = 1) -> int:
    return units * UNIT + EMPTY


class Laws(RuleBasedStateMachine):
    """The cache beside a model of it: an ordered dictionary and plain sums."""

    LIMIT = weight(10)

    def __init__(self) -> None:
        super().__init__()
        self.cache = FrameCache(self.LIMIT)
        self.model: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self.hits = self.misses = self.evictions = 0
        self.version = 0

    def expect_put(self, key: int, units: int) -> bool:
        self.model.pop(key, None)
        if weight(units) > self.LIMIT:
            return False
        while sum(weight(size) for size, _ in self.model.values()) + weight(units) > self.LIMIT:
            self.model.popitem(last=False)
            self.evictions += 1
        self.model[key] = (units, self.version)
        return True

    def expect_found(self, key: int) -> bool:
        if key in self.model:
            self.model.move_to_end(key)
            self.hits += 1
            return True
        self.misses += 1
        return False

    def check(self, key: int, found: pd.DataFrame) -> None:
        units, version = self.model[key]
        assert found.equals(frame(units, version))

    @rule(key=st.integers(0, 5), units=st.integers(0, 12))
    def put(self, key: int, units: int) -> None:
        self.version += 1
        kept = self.cache.put(key, Held(frame(units, self.version)))
        assert kept == self.expect_put(key, units)

    @rule(key=st.integers(0, 5))
    def get(self, key: int) -> None:
        found = self.cache.get(key)
        assert (found is not None) == self.expect_found(key)
        if found is not None:
            self.check(key, found)

    @rule(key=st.integers(0, 5), units=st.integers(0, 12))
    def get_or_make(self, key: int, units: int) -> None:
        self.version += 1
        made = frame(units, self.version)
        found = self.cache.get_or_make(key, lambda: Held(made))
        if not self.expect_found(key):
            assert found.equals(made)
            self.expect_put(key, units)
        else:
            self.check(key, found)

    @rule(key=st.integers(0, 5), place=st.integers(0, 99))
    def mutate(self, key: int, place: int) -> None:
        found = self.cache.get(key)
        if self.expect_found(key) and found is not None and len(found) > place:
            found.loc[place, "x"] = -1
            found["y"] = 1

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.model.clear()

    @invariant()
    def agrees(self) -> None:
        stats = self.cache.stats
        held = sum(weight(units) for units, _ in self.model.values())
        assert (stats.entries, stats.bytes) == (len(self.model), held)
        assert (stats.hits, stats.misses, stats.evictions) == (
            self.hits,
            self.misses,
            self.evictions,
        )
        assert stats.bytes <= stats.max_bytes == self.LIMIT
        assert {key for key in range(6) if key in self.cache} == set(self.model)


TestLaws = Laws.TestCase
TestLaws.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


def test_putting_a_key_twice_counts_once_and_evicts_nothing() -> None:
    cache = FrameCache(weight(3) + weight(1))
    cache.put("other", Held(frame(1)))
    for _ in range(5):
        assert cache.put("twice", Held(frame(3)))
    stats = cache.stats
    assert (stats.bytes, stats.entries, stats.evictions) == (weight(3) + weight(1), 2, 0)


def test_what_is_larger_than_the_cache_is_returned_and_evicts_nothing() -> None:
    cache = FrameCache(weight(2))
    cache.put("small", Held(frame(1)))
    made = cache.get_or_make("large", lambda: Held(frame(3, 7)))
    assert made.equals(frame(3, 7))
    assert (cache.stats.entries, cache.stats.evictions, cache.stats.bytes) == (1, 0, weight(1))
    assert "small" in cache
    assert "large" not in cache


def test_a_larger_answer_under_a_held_key_does_not_leave_the_old_one() -> None:
    cache = FrameCache(weight(2))
    cache.put("key", Held(frame(1)))
    assert not cache.put("key", Held(frame(3)))
    assert cache.get("key") is None
    assert cache.stats.bytes == 0


def test_exactly_the_bound_fits_and_one_byte_less_does_not() -> None:
    assert FrameCache(weight(2)).put("key", Held(frame(2)))
    assert not FrameCache(weight(2) - 1).put("key", Held(frame(2)))


def test_the_least_recently_used_goes_first() -> None:
    cache = FrameCache(weight(1) * 3)
    for key in "abc":
        cache.put(key, Held(frame()))
    cache.get("a")
    cache.put("d", Held(frame()))
    assert [key for key in "abcd" if key in cache] == ["a", "c", "d"]


def test_the_hit_rate_is_hits_of_all_questions() -> None:
    cache = FrameCache(weight(9))
    assert cache.stats.hit_rate == 0
    cache.get("a")
    cache.put("a", Held(frame()))
    for _ in range(3):
        cache.get("a")
    assert cache.stats.hit_rate == 0.75


def test_clearing_lets_go_of_frames_and_keeps_the_counts() -> None:
    cache = FrameCache(weight(9))
    cache.put("a", Held(frame()))
    cache.get("a")
    cache.clear()
    stats = cache.stats
    assert (stats.entries, stats.bytes, stats.hits, stats.evictions) == (0, 0, 1, 0)
    assert cache.get("a") is None


def test_a_negative_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="max_bytes"):
        FrameCache(-1)


def mixed() -> pd.DataFrame:
    table = pa.table(
        {
            "number": pa.array([1, 2, 3]),
            "price": pa.array([1.0, 2.0, 3.0]),
            "text": pa.array(["a", None, "c"]),
            "stamp": pa.array([1, 2, 3], pa.timestamp("ns", "UTC")),
            "some": pa.array([1, None, 3], pa.int16()),
            "day": pa.array([1, 2, 3], pa.date32()),
        }
    )
    made: pd.DataFrame = as_form(table, "pandas")
    return made


def _loc(held: pd.DataFrame) -> None:
    held.loc[0, "price"] = 99.0
    held.loc[held["number"] > 1, "number"] = -1
    held.loc[1, "stamp"] = pd.Timestamp(9, tz="UTC")
    held.loc[1, "text"] = "changed"
    held.iloc[2, 4] = 7
    held.at[0, "day"] = pd.Timestamp("2024-01-31")
    held.iat[0, 0] = 5


def _in_place(held: pd.DataFrame) -> None:
    held["price"] *= 2
    held["price"] += 1
    held.sort_values("number", ascending=False, inplace=True)
    held.rename(columns={"number": "renamed"}, inplace=True)
    held.drop(columns="text", inplace=True)
    held.insert(0, "new", 1)
    held.reset_index(drop=True, inplace=True)
    held.eval("price = price + 1", inplace=True)


def _labels(held: pd.DataFrame) -> None:
    held.index.name = "changed"
    held.columns.name = "changed"
    held.columns = pd.Index(list("abcdef"))
    held.attrs["changed"] = True


def _column(held: pd.DataFrame) -> None:
    column = held["price"]
    column.iloc[0] = 99.0
    column += 1
    numbers = held["number"]
    numbers.update(pd.Series([7, 8, 9]))
    held.update(pd.DataFrame({"price": [7.0, 8.0, 9.0]}))


def _text(held: pd.DataFrame) -> None:
    held.iloc[0, held.columns.get_loc("text")] = "changed"


CHANGES = [_loc, _in_place, _labels, _column, _text]


@pytest.mark.filterwarnings("ignore:The inplace keyword")
@pytest.mark.parametrize("change", CHANGES)
def test_what_a_caller_does_to_its_frame_never_shows_in_the_next_answer(
    change: Callable[[pd.DataFrame], None],
) -> None:
    cache = FrameCache(1 << 20)
    made = mixed()
    first = cache.get_or_make("key", lambda: Held(made))
    second = cache.get("key")
    for changed in (first, second, made):
        change(changed)
        pd.testing.assert_frame_equal(cache.get("key"), mixed())
        assert cache.get("key").index.name is None
        assert cache.get("key").attrs == {}
    pd.testing.assert_frame_equal(first, second)


def test_what_numpy_gets_is_read_only_or_a_copy() -> None:
    cache = FrameCache(1 << 20)
    cache.put("key", Held(mixed()))
    held = cache.get("key")
    held.values[0, 0] = 99
    for values in (held["price"].values, held["price"].to_numpy(), np.asarray(held["number"])):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 99
    pd.testing.assert_frame_equal(cache.get("key"), mixed())


@pytest.mark.filterwarnings("ignore:The inplace keyword")
@pytest.mark.parametrize("change", CHANGES)
def test_a_frame_can_be_changed_when_the_cache_no_longer_holds_it(
    change: Callable[[pd.DataFrame], None],
) -> None:
    cache = FrameCache(1 << 20)
    held = cache.get_or_make("key", lambda: Held(mixed()))
    cache.clear()
    change(held)
    alone = FrameCache(0).get_or_make("key", lambda: Held(mixed()))
    change(alone)
    pd.testing.assert_frame_equal(held, alone)


def test_polars_and_arrow_are_held_alike() -> None:
    cache = FrameCache(1 << 20)
    table = pa.table({"x": pa.array(range(100), pa.int64())})
    assert cache.put("arrow", Held(table))
    assert cache.put("polars", Held(pl.DataFrame({"x": range(100)})))
    assert cache.stats.bytes == 1600
    changed = cache.get("polars")
    changed[0, "x"] = -1
    changed.insert_column(0, pl.Series("y", range(100)))
    assert cache.get("polars").equals(pl.DataFrame({"x": range(100)}))
    assert cache.get("arrow").equals(table)


def test_text_counts_with_its_characters() -> None:
    short, long = (as_form(pa.table({"x": ["a" * length] * 100}), "pandas") for length in (1, 1001))
    assert size_of(long) - size_of(short) == 100_000


def test_many_who_ask_at_once_make_it_once() -> None:
    cache = FrameCache(1 << 20)
    made: list[int] = []
    start = threading.Barrier(8)

    def make() -> Held:
        made.append(1)
        time.sleep(0.05)
        return Held(frame(1, 7))

    def ask(_: int) -> pd.DataFrame:
        start.wait()
        found: pd.DataFrame = cache.get_or_make("key", make)
        found.loc[0, "x"] = -1
        return found

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert len(made) == 1
    assert len({id(answer) for answer in answers}) == 8
    assert cache.get("key").equals(frame(1, 7))
    assert (cache.stats.hits, cache.stats.misses) == (8, 1)


def test_what_is_too_large_is_made_once_for_all_who_wait() -> None:
    cache = FrameCache(0)
    made: list[int] = []
    asking = threading.Event()

    def make() -> Held:
        made.append(1)
        asking.wait(5)
        time.sleep(0.05)
        return Held(frame(1, 7))

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(cache.get_or_make, "key", make) for _ in range(4)]
        asking.set()
        assert all(answer.result().equals(frame(1, 7)) for answer in answers)
    assert len(made) < 4
    assert cache.stats.entries == 0


def test_an_error_goes_to_who_caused_it_and_the_next_tries_again() -> None:
    cache = FrameCache(1 << 20)
    turns: list[int] = []
    lock = threading.Lock()

    def make() -> Held:
        with lock:
            turns.append(1)
            turn = len(turns)
        time.sleep(0.05)
        if turn == 1:
            raise RuntimeError("the disk is full")
        return Held(frame(1, 7))

    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(cache.get_or_make, "key", make) for _ in range(3)]
        errors = [answer.exception() for answer in answers]
    assert sorted(str(error) for error in errors if error) == ["the disk is full"]
    assert len(turns) == 2
    assert cache.get("key").equals(frame(1, 7))


def test_threads_never_get_a_wrong_frame_and_the_bytes_stay_exact() -> None:
    limit = weight(10)
    cache = FrameCache(limit)
    until = time.monotonic() + 1.5
    wrong: list[Any] = []

    def work(seed: int) -> None:
        dice = np.random.default_rng(seed)
        while time.monotonic() < until:
            key = int(dice.integers(0, 8))
            match int(dice.integers(0, 12)):
                case 0:
                    cache.put(key, Held(frame(1 + key % 4, key)))
                case 1 if seed == 0:
                    cache.clear()
                case _:
                    found = cache.get_or_make(key, lambda key=key: Held(frame(1 + key % 4, key)))
                    if not found.equals(frame(1 + key % 4, key)):
                        wrong.append(key)
                    found.loc[0, "x"] = -1
            if cache.stats.bytes > limit:
                wrong.append("too many bytes")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    held = [key for key in range(8) if key in cache]
    assert cache.stats.bytes == sum(weight(1 + key % 4) for key in held)
