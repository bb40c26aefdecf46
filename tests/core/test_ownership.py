"""A warehouse that is found on the way up is the user's own; a stranger's leads out nowhere."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest
import yaml

from warehouse.cli import demo
from warehouse.core.config import CONFIG_FILE, check_paths, find_root, load, locate
from warehouse.core.metrics import Silent
from warehouse.core.paths import OWN_FOLDERS
from warehouse.core.permissions import is_own, owner_of
from warehouse.errors import ConfigError, ForeignWarehouseError, RequestError
from warehouse.maintenance.init import lay_out
from warehouse.pipeline.download_plan import open_source

ANOTHER = os.getuid() + 1 if hasattr(os, "getuid") else 0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "theirs"
    (root / "config").mkdir(parents=True)
    (root / "below").mkdir()
    (root / CONFIG_FILE).write_text("version: 1\n", "utf-8")
    return root


@pytest.fixture
def as_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: ANOTHER)


@pytest.mark.usefixtures("as_another")
def test_one_that_is_found_on_the_way_up_must_be_ones_own_and_one_that_is_named_need_not(
    root: Path,
) -> None:
    for search in (find_root, locate):
        with pytest.raises(ForeignWarehouseError, match="warehouse -C") as caught:
            search(root / "below")
        assert "\n" not in str(caught.value)
    assert locate(root) == (root, root / CONFIG_FILE)


def test_ones_own_is_found_and_root_stands_for_who_called_sudo(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_root(root / "below") == root
    owner = root.stat().st_uid or ANOTHER
    if root.stat().st_uid == 0:
        for path in (root, root / "config", root / CONFIG_FILE):
            os.chown(path, owner, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("SUDO_UID", raising=False)
    with pytest.raises(ForeignWarehouseError):
        find_root(root / "below")
    monkeypatch.setenv("SUDO_UID", str(owner))
    assert find_root(root / "below") == root


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another")
@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("storage", "cache_dir"),
        ("storage", "raw_data_dir"),
        ("storage", "sql_dir"),
        ("bars", "trade_conditions"),
    ],
)
def test_a_strangers_configuration_leads_to_nothing_that_is_not_theirs(
    root: Path, section: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, mine, theirs = root / CONFIG_FILE, root.parent / "mine", root.parent / "big disk"
    for folder in (mine, theirs):
        folder.mkdir()
    for path in (root, file, theirs):
        os.chown(path, ANOTHER, -1)

    def lead_to(folder: Path) -> None:
        file.write_text(yaml.safe_dump({section: {key: str(folder)}}), "utf-8")
        check_paths(root, file, load(file, {}))

    monkeypatch.delenv("SUDO_UID", raising=False)
    lead_to(root / "inside/cache")
    lead_to(theirs / "cache")
    (root / "link").symlink_to(mine)
    variable = f"WAREHOUSE_{section}__{key}".upper()
    for folder in (mine / "cache", root / "link/cache"):
        told = rf"{section}\.{key} leads to .* yourself with {variable}={mine}/cache$"
        with pytest.raises(ForeignWarehouseError, match=told):
            lead_to(folder)
    monkeypatch.setenv(variable, str(mine / "cache"))
    check_paths(root, file, load(file, {"WAREHOUSE_SOURCE__URL": ""}))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another")
@pytest.mark.parametrize("url", ["{}", "file://{}"])
def test_a_strangers_source_is_not_the_users_folder_however_its_url_is_written(
    root: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, mine = root / CONFIG_FILE, root.parent / "mine"
    mine.mkdir()
    for path in (root, file):
        os.chown(path, ANOTHER, -1)
    monkeypatch.delenv("SUDO_UID", raising=False)
    file.write_text(yaml.safe_dump({"source": {"url": url.format(mine)}}), "utf-8")
    with pytest.raises(ForeignWarehouseError, match=f"WAREHOUSE_SOURCE__URL={mine}$"):
        check_paths(root, file, load(file, {}))
    os.chown(mine, ANOTHER, -1)
    check_paths(root, file, load(file, {}))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another")
@pytest.mark.parametrize(
    "name",
    [
        *sorted(OWN_FOLDERS),
        *("cache/trades", "ledger/trades", "history/trades", "raw/trades", "reference/trades"),
    ],
)
def test_no_folder_of_a_strangers_warehouse_leads_to_what_is_not_theirs(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, mine, theirs = root / CONFIG_FILE, root.parent / "mine", root.parent / "big disk"
    (root / "data" / name).parent.mkdir(parents=True)
    for folder in (mine, theirs):
        folder.mkdir()
    for path in (root, file, theirs):
        os.chown(path, ANOTHER, -1)
    monkeypatch.delenv("SUDO_UID", raising=False)
    (root / "data" / name).symlink_to(theirs)
    check_paths(root, file, load(file, {}))
    (root / "data" / name).unlink()
    (root / "data" / name).symlink_to(mine)
    with pytest.raises(ForeignWarehouseError, match=f"data/{name} leads to"):
        check_paths(root, file, load(file, {}))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another")
@pytest.mark.parametrize("name", ["catalog", "validate", "catalog/trades.sql", "report/runs.sql"])
def test_no_sql_of_a_strangers_warehouse_leads_to_what_is_not_theirs(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a text that is no SQL the first line would be told, and noted beside the stranger's data.
    file, link = root / CONFIG_FILE, root / "sql" / name
    mine, theirs = root.parent / "my own", root.parent / "of another"
    link.parent.mkdir(parents=True)
    for place in (mine, theirs):
        place.write_text("KEY=abc") if link.suffix else place.mkdir()
    for path in (root, file, theirs):
        os.chown(path, ANOTHER, -1)
    monkeypatch.delenv("SUDO_UID", raising=False)
    link.symlink_to(theirs)
    check_paths(root, file, load(file, {}))
    link.unlink()
    link.symlink_to(mine)
    with pytest.raises(ForeignWarehouseError, match=f"sql/{name} leads to"):
        check_paths(root, file, load(file, {}))
    monkeypatch.setenv("WAREHOUSE_STORAGE__SQL_DIR", str(root / "sql"))
    check_paths(root, file, load(file, {}))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a link to another")
@pytest.mark.parametrize("name", [CONFIG_FILE.parent, CONFIG_FILE])
def test_a_strangers_link_to_a_configuration_of_the_users_own_makes_nothing_the_users(
    root: Path, name: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    file, mine = root / CONFIG_FILE, root.parent / "mine"
    mine.mkdir()
    (root / name).rename(mine / name.name)
    (root / name).symlink_to(mine / name.name)
    assert is_own(file)
    assert find_root(root / "below") == root
    (root / "raw").symlink_to(mine)
    monkeypatch.setenv("WAREHOUSE_STORAGE__SQL_DIR", str(root / "sql"))
    file.write_text("storage: {raw_data_dir: ./raw}", "utf-8")
    check_paths(root, file, load(file, {}))
    os.chown(root / name, ANOTHER, -1, follow_symlinks=False)
    assert not is_own(file)
    assert owner_of(file) == f"user {ANOTHER}" or owner_of(file) == pwd.getpwuid(ANOTHER).pw_name
    with pytest.raises(ForeignWarehouseError, match="found on the way up"):
        find_root(root / "below")
    with pytest.raises(ForeignWarehouseError, match=f"leads to {mine}"):
        check_paths(root, file, load(file, {}))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another")
def test_a_hard_link_in_a_strangers_folder_makes_nothing_the_users(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    file = root / CONFIG_FILE
    os.link(file, root.parent / "mine.yaml")
    assert is_own(file)
    os.chown(file.parent, ANOTHER, -1)
    assert not is_own(file)
    assert is_own(root.parent / "mine.yaml")
    (root.parent / "mine.yaml").unlink()
    assert is_own(file)


@pytest.mark.usefixtures("as_another")
def test_a_strangers_configuration_of_any_name_names_no_server_and_leads_nowhere_else(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python takes a file too, whose folder may be the user's, or hold a configuration that is."""
    file = root / "other.yaml"
    file.write_text("source: {url: 's3://mine', endpoint: 'https://theirs.example'}", "utf-8")
    owner = ANOTHER if os.getuid() == 0 else os.getuid()
    for own in (root, root / CONFIG_FILE.parent, root / CONFIG_FILE):
        if os.getuid() == 0:
            os.chown(own, owner, -1)
    with pytest.raises(ForeignWarehouseError, match=r"other\.yaml belongs to .* source\.endpoint"):
        open_source(load(file), root)
    assert load(file).layout(root).confines is not None
    (root / CONFIG_FILE).unlink()
    with pytest.raises(ForeignWarehouseError, match=r"other\.yaml belongs to .* source\.endpoint"):
        open_source(load(file), root)
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid)
    assert open_source(load(file), root).url == "s3://mine"
    assert load(file).layout(root).confines is None


@pytest.mark.usefixtures("as_another")
@pytest.mark.parametrize(
    "source",
    [
        {"url": "s3://mine", "endpoint": "https://theirs.example"},
        {"url": "s3://mine", "endpoint": ""},
    ],
)
def test_a_strangers_configuration_names_no_server_for_the_users_credentials(
    root: Path, source: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = root / CONFIG_FILE
    file.write_text(yaml.safe_dump({"source": source}), "utf-8")
    for key in ("endpoint", "url"):
        # Nothing is asked of a server by who reads.
        check_paths(root, file, load(file))
        # What is still to be asked for is told at once.
        told = rf"belongs to root.* source\.{key} = .* WAREHOUSE_SOURCE__{key.upper()}"
        told += " and WAREHOUSE_SOURCE__URL$" if key == "endpoint" else "$"
        with pytest.raises(ForeignWarehouseError, match=told):
            open_source(load(file), root)
        monkeypatch.setenv(f"WAREHOUSE_SOURCE__{key.upper()}", source[key])
    assert open_source(load(file), root).url == "s3://mine"


@pytest.mark.usefixtures("as_another")
def test_the_vendors_own_server_is_what_the_users_credentials_are_for(root: Path) -> None:
    file = root / CONFIG_FILE
    file.write_text("source: {url: 's3://flatfiles'}", "utf-8")
    assert open_source(load(file), root).url == "s3://flatfiles"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another")
def test_neither_init_nor_the_demo_makes_anything_where_a_strangers_configuration_leads(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    file, mine = root / CONFIG_FILE, root.parent / "mine"
    mine.mkdir()
    settings = {"source": {"url": "./flatfiles"}, "storage": {"cache_dir": str(mine / "a/cache")}}
    file.write_text(yaml.safe_dump(settings), "utf-8")
    for path in (root, file):
        os.chown(path, ANOTHER, -1)
    for make in (lay_out, lambda folder: demo.make(folder, Silent())):
        with pytest.raises(ForeignWarehouseError, match=r"storage\.cache_dir leads to"):
            make(root)
    assert list(mine.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a link to another")
@pytest.mark.parametrize("name", ["config", "sql", "data", "data/raw"])
def test_init_makes_no_warehouse_where_a_strangers_link_leads_to_what_is_the_users(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    folder, mine = tmp_path / "theirs", tmp_path / "mine"
    mine.mkdir()
    link = folder / name
    link.parent.mkdir(parents=True)
    link.symlink_to(mine)
    os.chown(link, ANOTHER, -1, follow_symlinks=False)
    with pytest.raises(ForeignWarehouseError, match=rf"{name} belongs to .* leads to {mine},"):
        lay_out(folder)
    assert list(mine.iterdir()) == []
    assert not (folder / CONFIG_FILE).exists()
    # A disk of another machine may have other numbers of users, all of it.
    os.chown(mine, ANOTHER, -1)
    assert lay_out(folder).is_new
    (folder / CONFIG_FILE).unlink()
    os.chown(mine, os.getuid(), -1)
    os.chown(link, os.getuid(), -1, follow_symlinks=False)
    assert lay_out(folder).is_new


def test_the_demo_goes_on_in_no_folder_with_links_in_it(root: Path) -> None:
    folder, mine = root.parent / "demo-warehouse", root.parent / "mine"
    for each in (folder, mine):
        each.mkdir()
    (folder / "data").symlink_to(mine)
    with pytest.raises(RequestError, match="what it holds, data, was not made here"):
        demo.make(folder, Silent())
    assert list(mine.iterdir()) == []


@pytest.mark.usefixtures("as_another")
@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"engine": "ray"}, "engine"),
        ({"engine": "spark", "spark_master": "spark://theirs:7077"}, "engine"),
        ({"spark_master": "spark://theirs:7077"}, "spark_master"),
    ],
)
def test_a_strangers_configuration_sends_no_work_to_other_machines(
    root: Path, settings: dict[str, str], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = root / CONFIG_FILE
    file.write_text(yaml.safe_dump({"processing": settings}), "utf-8")
    own = {} if "engine" in settings else {"WAREHOUSE_PROCESSING__ENGINE": "spark"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ForeignWarehouseError, match=rf"says processing\.{key} = .* WAREHOUSE_"):
        check_paths(root, file, load(file))
    own = {
        "WAREHOUSE_PROCESSING__ENGINE": "spark",
        "WAREHOUSE_PROCESSING__SPARK_MASTER": "local[2]",
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    check_paths(root, file, load(file))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &a [x]\nb: [*a, *a]\n", "anchors and aliases"),
        ("source: &s {url: x}\n", "anchors and aliases"),
        ("source: {symbols: [*x]}\n", "anchors and aliases"),
        ("source: " + "[" * 5_000 + "]" * 5_000, "nested too deeply"),
        ("source: " + "{a: " * 50 + "}" * 50, "nested too deeply"),
        ("# " + "x" * 300_000, "larger than"),
    ],
)
def test_settings_that_grow_without_bound_are_refused_in_one_line(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = tmp_path / "data_config.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=problem) as caught:
        load(path, {})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize(
    "text",
    [
        *('storage: {cache_dir: "a\\0b"}', 'storage: {cache_dir: "s3://a\\0b"}'),
        *('storage: {raw_data_dir: "a\\0b"}', 'storage: {sql_dir: "a\\0b"}'),
        *('bars: {trade_conditions: "a\\0b"}', 'source: {url: "a\\0b"}'),
        *('storage: {sql_dir: "\\ud800"}', 'source: {url: "\\ud800"}'),
    ],
)
def test_a_path_that_no_system_has_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data_config.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match="a letter that no path") as caught:
        load(path, {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://[::1", "http://a:99999", "http://a:b"])
def test_an_endpoint_that_is_no_servers_is_refused_in_one_line(tmp_path: Path, url: str) -> None:
    path = tmp_path / "data_config.yaml"
    path.write_text(f'source: {{endpoint: "{url}"}}', "utf-8")
    with pytest.raises(ConfigError, match="must be the URL of a server") as caught:
        load(path, {})
    assert "\n" not in str(caught.value)


def test_a_pipe_in_the_place_of_settings_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data_config.yaml")
    with pytest.raises(ConfigError, match="no regular file"):
        load(tmp_path / "data_config.yaml", {})
