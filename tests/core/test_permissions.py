"""Who may read what the warehouse keeps, whatever the umask of the one who writes."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import s3server
from building import SESSION, Made, MakeWarehouse, bar, day_key, instant, make, random_trades, trade

from warehouse import Warehouse
from warehouse.cli.shell import shell_arguments
from warehouse.core.permissions import Modes
from warehouse.errors import ConfigError, StorageError, WarehouseError
from warehouse.store.catalog import Catalog
from warehouse.store.publishing.publish import writer_lock

DAYS = (SESSION.replace(day=30), SESSION)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes_below(folder: Path) -> dict[str, str]:
    """Mode of every file and folder, in octal."""
    return {
        path.relative_to(folder.parent).as_posix(): f"{stat.S_IMODE(path.lstat().st_mode):o}"
        for path in (folder, *folder.rglob("*"))
    }


def of_each_kind(tmp_path: Path, **overrides: object) -> Made:
    """A warehouse that has made everything it ever makes: a copied source, rejects, set-asides."""
    made = make(tmp_path, **overrides)
    for day in DAYS:
        made.put(day_key("trades", day), [*random_trades(["A", "b"], 40, day), "too,few"])
    made.put(day_key("day_aggs", SESSION), [bar("A", instant(SESSION, "00:00"))])
    made.put(day_key("quotes", SESSION), b"no gzip")
    made.update()
    return made


def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source is on another disk: it must be copied."""

    def refuse(*arguments: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)


def test_a_disk_without_modes_is_refused_unless_it_keeps_others_out_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(tmp_path)
    made.put(day_key("trades", SESSION), [trade("A", instant(SESSION), 1)])

    mkdir, given = os.mkdir, 0o755

    def refuse(path: object, mode: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)

    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(os, "mkdir", lambda path, mode=0, **other: mkdir(path, given, **other))
    for _ in range(2):
        # The second run must not take what the first has left for what was there before.
        with pytest.raises(StorageError, match=r"keeps no modes, .*umask=077"):
            made.update()
    given = 0o700
    with umask(0o077):
        made.update()
    assert made.table("trades").num_rows == 1


@pytest.mark.parametrize(
    ("mode", "files", "folders", "mask"),
    [
        (None, "600", "700", 0o000),
        (None, "600", "700", 0o077),
        ("640", "640", "2750", 0o077),
        ("0660", "660", "2770", 0o022),
        ("644", "644", "2755", 0o077),
    ],
)
def test_files_and_folders_have_the_modes_asked_for_whatever_the_umask(
    mode: str | None,
    files: str,
    folders: str,
    mask: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_links(monkeypatch)
    with umask(mask):
        made = of_each_kind(tmp_path, **({"storage__file_mode": mode} if mode else {}))
        # Once more, so that what is there already is replaced and turned over too.
        made.rebuild("trades")
        with Warehouse(made.root) as wh:
            assert len(wh.query("select * from trades")) > 70

    found = modes_below(made.layout.data)

    kinds = {path.partition("/")[2].partition("/")[0] for path in found}
    assert kinds >= {
        *("raw", "cache", "rejects", "staging", "schema", "set_aside", "logs", "metrics"),
        *("warehouse.duckdb", "writer.lock"),
    }
    for path, given in found.items():
        is_folder = (made.layout.data.parent / path).is_dir()
        assert given == (folders if is_folder else files), path


def test_what_lies_there_while_a_run_is_under_way_is_private_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}
    replace = os.replace

    def look(*arguments: str) -> None:
        if (tmp_path / "warehouse/data").exists():
            seen.update(modes_below(tmp_path / "warehouse/data"))
        replace(*arguments)

    no_links(monkeypatch)
    monkeypatch.setattr(os, "replace", look)
    with umask(0):
        made = of_each_kind(tmp_path)

    assert {"data/publish.json", "data/writer.txt"} < set(seen)
    closed = {path for path, mode in seen.items() if mode in ("600", "700")}
    # What DuckDB and pyarrow make gets its mode when it is published; the folder above is closed.
    assert {path.split("/")[1] for path in set(seen) - closed} <= {"staging"}
    assert {seen["data"], seen["data/staging"]} == {"700"}
    assert made.layout.modes == Modes()


def test_files_from_a_server_are_private(tmp_path: Path) -> None:
    if s3server.weed() is None:
        pytest.skip("no S3 server is installed")
    server = s3server.shared()
    made = make(tmp_path, download__retry_attempts=0)
    key = day_key("trades", SESSION)
    path = made.put(key, [trade("A", instant(SESSION))])
    server.put(f"modes/{key}", path.read_bytes())
    made.configure(source__url=f"s3://{s3server.BUCKET}/modes", source__endpoint=server.endpoint)
    with umask(0), pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", s3server.ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", s3server.SECRET)
        made.update("trades", start=SESSION, end=SESSION)

    found = modes_below(made.layout.raw)
    assert len(found) == 5
    assert {mode for path, mode in found.items() if path.endswith(".gz")} == {"600"}
    assert set(found.values()) == {"600", "700"}


def test_a_link_to_the_source_keeps_the_mode_that_its_owner_gave_it(tmp_path: Path) -> None:
    made = make(tmp_path)
    path = made.put(day_key("trades", SESSION), [trade("A", instant(SESSION))])
    path.chmod(0o644)
    made.update()

    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    (raw,) = made.layout.raw.rglob("*.csv.gz")
    assert raw.samefile(path)
    assert f"{stat.S_IMODE(made.layout.raw.stat().st_mode):o}" == "700"


def test_folders_that_are_there_keep_their_mode(tmp_path: Path) -> None:
    made = make(tmp_path, {day_key("trades", SESSION): [trade("A", instant(SESSION))]})
    made.layout.data.mkdir()
    made.layout.data.chmod(0o755)
    made.update()
    found = modes_below(made.layout.data)
    assert found.pop("data") == "755"
    assert found["data/cache"] == "700"


MEMBER, GROUP, ANOTHER = 34_567, 12_345, 55_555


@contextmanager
def as_member(group: int) -> Iterator[None]:
    """Be somebody else, in this group beside one's own."""
    groups = os.getgroups()
    os.setgroups([group])
    os.setegid(23_456)
    os.seteuid(MEMBER)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("mode", ["640", "660"])
def test_a_team_shares_a_warehouse_by_its_group(mode: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="shared-"))
    try:
        folder.chmod(0o755)
        made = make(folder, storage__file_mode=mode)
        made.put(day_key("trades", SESSION), [trade("A", instant(SESSION))])
        made.put(day_key("day_aggs", SESSION), [bar("A", instant(SESSION, "00:00"))])
        made.layout.data.mkdir()
        os.chown(made.layout.data, -1, GROUP)
        made.layout.data.chmod(made.layout.modes.folder)
        with umask(0o077):
            made.update("trades")
        assert {path.stat().st_gid for path in made.layout.cache.rglob("*")} == {GROUP}

        with as_member(GROUP):
            assert made.sql("select count(*) from trades") == [(1,)]
            with Warehouse(made.root) as wh:
                assert len(wh.trades("A", SESSION, SESSION)) == 1
            if mode == "660":
                made.update("day_aggs")
            else:
                with pytest.raises(StorageError, match="ermission"):
                    made.update("day_aggs")
        with as_member(ANOTHER), pytest.raises(WarehouseError), Warehouse(made.root) as wh:
            wh.trades("A", SESSION, SESSION)

        # And the first one goes on where the other has written.
        made.update("day_aggs")
        made.check_catalog()
        assert made.sql("select count(*) from day_aggs") == [(1,)]
    finally:
        shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write as somebody else")
def test_what_a_run_of_another_user_left_is_told_with_what_gives_it_back() -> None:
    """As one with `sudo` does: nothing of it was killed."""
    folder = Path(tempfile.mkdtemp(prefix="shared-"))
    try:
        folder.chmod(0o755)
        made = make(folder, {day_key("trades", SESSION): [trade("A", instant(SESSION))]})
        made.update("trades")
        told = r"Permission denied; \S+ belongs to root, not to you"
        made.layout.data.chmod(0o755)
        with as_member(GROUP), pytest.raises(StorageError, match=f"{told}$"):
            made.update("trades")
        back = f"{told}, .*: chown -R {MEMBER} {made.layout.data}$"
        for own in (made.layout.data, made.layout.marker):
            os.chown(own, MEMBER, -1)
            with as_member(GROUP), pytest.raises(StorageError, match=back):
                made.update("trades")
        os.chown(made.layout.lock, MEMBER, -1)
        with as_member(GROUP), pytest.raises(StorageError, match=f"staging.* left: {back}"):
            made.update("trades")
        subprocess.run(["chown", "-R", str(MEMBER), str(made.layout.data)], check=True)
        with as_member(GROUP):
            made.update("trades")
    finally:
        shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write as somebody else")
def test_a_catalog_that_another_users_run_left_is_told_to_readers_with_what_gives_it_back() -> None:
    folder = Path(tempfile.mkdtemp(prefix="shared-"))
    try:
        folder.chmod(0o755)
        made = make(folder, {day_key("trades", SESSION): [trade("A", instant(SESSION))]})
        made.update("trades")
        subprocess.run(["chown", "-R", str(MEMBER), str(made.layout.data)], check=True)
        os.chown(made.layout.catalog, 0, 0)
        back = (
            rf"cannot be read: Permission denied; \S+ belongs to root, not to you,"
            rf" .*: chown -R {MEMBER} {made.layout.data}$"
        )
        with as_member(GROUP):
            with pytest.raises(StorageError, match=back), Warehouse(made.root) as wh:
                wh.query("select 1")
            with pytest.raises(StorageError, match=back):
                Catalog(made.layout)
            with pytest.raises(StorageError, match=back):
                shell_arguments(made.layout, [])
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("mode", ["400", "700", "755", "rw-------", "1600", "", "060", "0o600"])
def test_a_mode_that_would_lock_the_owner_out_or_is_none_is_refused(
    mode: str, make_warehouse: MakeWarehouse
) -> None:
    made = make_warehouse(storage__file_mode=mode)
    with pytest.raises(ConfigError, match=r"storage\.file_mode = .*600 \(the owner alone\)"):
        made.layout  # noqa: B018


def test_what_a_query_spills_is_for_no_other_user(made_private: Made) -> None:
    with umask(0), Warehouse(made_private.root) as wh:
        (setting,) = wh.query("select current_setting('temp_directory') as folder")["folder"]
        assert f"{stat.S_IMODE(os.stat(setting).st_mode):o}" == "700"
    assert not os.path.exists(setting)


@pytest.fixture
def made_private(make_warehouse: MakeWarehouse) -> Made:
    made = make_warehouse({day_key("trades", SESSION): [trade("A", instant(SESSION))]})
    made.update()
    return made


def test_the_lock_is_private(made_private: Made) -> None:
    with umask(0), writer_lock(made_private.layout):
        found = modes_below(made_private.layout.data)
    assert (found["data/writer.lock"], found["data/writer.txt"]) == ("600", "600")
