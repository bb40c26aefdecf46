"""Fixtures that tests of several modules share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import building
import hypothesis
import pytest
from building import REPOSITORY, Made, MakeWarehouse

REAL = REPOSITORY.parent / "shared" / "real" / "flatfiles"

# How long an example takes is the machine's business.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")


_IN_MEMORY, _ROOM = Path("/dev/shm"), 6 << 30


def pytest_configure(config: pytest.Config) -> None:
    """Warehouses are made in memory where there is room: what is synced there takes no time."""
    may_be_used = _IN_MEMORY.is_dir() and os.access(_IN_MEMORY, os.W_OK)
    if may_be_used and shutil.disk_usage(_IN_MEMORY).free > _ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_IN_MEMORY))


@pytest.fixture(scope="session", autouse=True)
def checkout_is_left_as_it_is() -> Iterator[None]:
    """The checkout is laid out as a warehouse: a test that names none would write there."""

    def names() -> set[Path]:
        return {path for name in ("config", "data") for path in (REPOSITORY / name).rglob("*")}

    before = names()
    yield
    assert names() <= before, "a test wrote into the checkout"


@pytest.fixture(scope="session")
def make_warehouse(tmp_path_factory: pytest.TempPathFactory) -> MakeWarehouse:
    """Makes a warehouse: `make_warehouse(files, processing__chunk_size=1000)`.

    `files` are those of its source, key → text, lines or bytes. Each call makes another one.
    """

    def make(
        files: Mapping[str, Any] | None = None, *, folder: Path | None = None, **overrides: Any
    ) -> Made:
        return building.make(folder or tmp_path_factory.mktemp("made"), files, **overrides)

    return make


@pytest.fixture(scope="session")
def real_flatfiles() -> Path:
    """The folder of real market data; tests that want it are skipped where it is absent."""
    if not (REAL / "us_stocks_sip").is_dir():
        pytest.skip(f"no real market data at {REAL}")
    return REAL
