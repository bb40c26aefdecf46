"""The files that come with the project and stand in each warehouse: sql/ and tables of config/.

A warehouse has its own copies, which are the user's to change. `config/.shipped.json` says what
each was when we wrote it, so that one that was not changed since gives way to a later version's,
and one that was stays. What was written before there was such a record is known by its hash.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from warehouse.core.config import CONFIG_FILE, Config
from warehouse.core.paths import absolute, shipped
from warehouse.core.small_files import MOST_BYTES, parsed_json, plain, read_small

RECORD = Path("config/.shipped.json")

_BEFORE = Path(__file__).with_name("shipped_before.json")
"""Of each file the hashes that it had in versions that kept no record, shortened."""
_SHORT = 16
_NAMED = 5


@dataclass
class Refreshed:
    """What became of a warehouse's copies; names are paths below its folder.

    Attributes:
        added: were not there.
        replaced: are as the project ships them now; nobody had changed them.
        removed: the project ships them no more, and nobody had changed them.
        differing: are not as the project ships them; they were kept.
        outdated: those of them whose shipped version is another than the one they were made from.
        problem: why the rest could not be written; empty where all went well.
    """

    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    problem: str = ""

    def lines(self) -> Iterator[str]:
        """What a run says of it: nothing where nothing was to be done."""
        for names, told in (
            (self.replaced, "replaced by the present version's"),
            (self.added, "added, as the present version has it"),
            (self.removed, "removed, as the present version has it no more"),
            (self.outdated, "kept as you changed it, though the shipped one has changed since"),
        ):
            more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
            if names:
                yield f"{', '.join(names[:_NAMED])}{more}: {told}"
        if self.problem:
            yield f"the shipped files cannot be brought up to date: {self.problem}"


def refresh(root: Path, config: Config, *, restore: bool = False) -> Refreshed:
    """Bring a warehouse's copies up to date with the project, but for those that were changed.

    Args:
        restore: also those that were there once, and are not there now.

    Raises:
        OSError: one cannot be read or written.
    """
    found = Refreshed()
    record, is_recorded = _record(root)
    now = dict(_shipped())
    before = {} if is_recorded else _before()
    for name, (source, digest) in now.items():
        target, is_ours = _place(root, config, name)
        known = {record.get(name, ""), *before.get(name, ())} - {""}
        if not target.exists():
            if is_ours and (restore or not known):
                write(target, source.read_bytes(), _readers(root))
                found.added.append(name)
                record[name] = digest
            continue
        present = _digest(target)
        if present == digest:
            record[name] = digest
        elif is_ours and (present in known or present[:_SHORT] in known):
            write(target, source.read_bytes())
            found.replaced.append(name)
            record[name] = digest
        else:
            found.differing.append(Path(os.path.relpath(target, absolute(root))).as_posix())
            if name not in record and digest[:_SHORT] in known:
                # It has not changed in any version, so it was changed by the user alone.
                record[name] = digest
            if is_ours and record.get(name) != digest:
                found.outdated.append(name)
    for name in sorted({*record, *before} - {*now}):
        target, is_ours = _place(root, config, name)
        known = {record.pop(name, ""), *before.get(name, ())} - {""}
        if is_ours and target.exists():
            present = _digest(target)
            if present in known or present[:_SHORT] in known:
                target.unlink()
                found.removed.append(name)
    _keep(root, record, found.outdated)
    return found


def refresh_once(root: Path, config: Config) -> Refreshed:
    """The same for a run, which looks no further where the project ships what it did before.

    Where something cannot be written, that is said and all goes on with what is there.
    """
    try:
        told = _told(root)
        if told.get("of") == _of_all() and not told.get("outdated"):
            return Refreshed()
        return refresh(root, config)
    except OSError as error:
        place = os.path.relpath(error.filename or root, root)
        return Refreshed(problem=f"{place}: {error.strerror or error}")


def outdated(root: Path) -> list[str]:
    """Changed files whose shipped version has changed too, as the last run found them."""
    names = _told(root).get("outdated", [])
    return sorted(map(str, names)) if isinstance(names, list) else []


def write(target: Path, content: bytes, readers: int = 0) -> None:
    """Whole or not at all: half a file would later pass for the user's.

    What bears the draft's name may be a stranger's link, or a pipe: it goes, and nothing is written
    to where it leads.

    Args:
        readers: who may read a new one beside those that the umask lets, as bits of its mode.
    """
    _make_folders(target.parent, readers)
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    with open(part, "xb") as file:
        file.write(content)
    if target.exists():
        shutil.copymode(target, part)
    else:
        _let_in(part, readers)
    os.replace(part, target)


def _readers(root: Path) -> int:
    """The r's of a warehouse's settings: whoever may read those may read what was added since.

    The umask is that of who runs the first command of a new version, as of a nightly job. With it
    alone, others who share the warehouse could not read the new files, and not ask anything.
    """
    try:
        return (root / CONFIG_FILE).stat().st_mode & 0o444
    except OSError:
        return 0


def _make_folders(folder: Path, readers: int) -> None:
    if not folder.is_dir():
        _make_folders(folder.parent, readers)
        folder.mkdir(exist_ok=True)
        _let_in(folder, readers | readers >> 2)


def _let_in(path: Path, bits: int) -> None:
    # A disk that keeps no modes gives all the same one.
    with suppress(OSError):
        path.chmod(stat.S_IMODE(path.stat().st_mode) | bits)


def _place(root: Path, config: Config, name: str) -> tuple[Path, bool]:
    """Where a warehouse has its copy, and whether that is ours to write.

    A folder of SQL elsewhere is the user's own, and may be shared; so is what a link leads to. The
    project's own clone is a warehouse too, and its files are the shipped ones themselves.
    """
    folder, _, below = name.partition("/")
    sql_dir = config.sql_dir(root)
    target = sql_dir / below if folder == "sql" else absolute(root) / name
    is_inside = folder != "sql" or sql_dir.is_relative_to(absolute(root))
    there = _real(target.parent)
    is_ours = (
        is_inside
        and not target.is_symlink()
        and there.is_relative_to(_real(root))
        and not there.is_relative_to(_real(shipped(folder)))
    )
    return target, is_ours


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _digest(path: Path) -> str:
    """Of a file's lines, however they end: a checkout of git ends them as the system does.

    Nor is the mark a change that some editors put before what they save.
    """
    with open(plain(path), "rb") as file:
        # None that ships is larger, so a larger one is another, whatever else it holds.
        content = file.read(MOST_BYTES).removeprefix(codecs.BOM_UTF8)
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def _files() -> Iterator[tuple[str, Path]]:
    for path in sorted(shipped("sql").rglob("*.sql")):
        yield f"sql/{path.relative_to(shipped('sql')).as_posix()}", path
    for path in sorted(shipped("config").glob("*.csv")):
        yield f"config/{path.name}", path


@lru_cache(maxsize=1)
def _shipped() -> tuple[tuple[str, tuple[Path, str]], ...]:
    return tuple((name, (path, _digest(path))) for name, path in _files())


def _of_all() -> str:
    told = "".join(f"{name} {digest}\n" for name, (_, digest) in _shipped())
    return hashlib.sha256(told.encode()).hexdigest()[:_SHORT]


def _before() -> dict[str, list[str]]:
    return dict(json.loads(_BEFORE.read_text("utf-8")))


def _told(root: Path) -> dict[str, object]:
    """What the record says. Whatever cannot be understood is as if it were not there."""
    try:
        told = parsed_json(read_small(root / RECORD))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _record(root: Path) -> tuple[dict[str, str], bool]:
    files = _told(root).get("files")
    if not isinstance(files, dict):
        return {}, False
    safe = {
        name: digest for name, digest in files.items() if isinstance(digest, str) and _is_name(name)
    }
    return safe, True


def _is_name(name: str) -> bool:
    """Whether it may be that of a shipped file: the record is data, and must lead nowhere else."""
    folder, *below = name.split("/")
    is_plain = all(part and not part.startswith(".") and "\\" not in part for part in below)
    ends = {"sql": ".sql", "config": ".csv"}
    return bool(below) and is_plain and folder in ends and name.endswith(ends[folder])


def _says(path: Path, text: str) -> bool:
    try:
        return read_small(path) == text
    except (FileNotFoundError, ValueError):
        return False


def _keep(root: Path, record: dict[str, str], outdated: list[str]) -> None:
    told = {"of": _of_all(), "outdated": sorted(outdated), "files": dict(sorted(record.items()))}
    text = json.dumps(told, indent=1) + "\n"
    path = root / RECORD
    is_ours = (root / CONFIG_FILE).parent.is_dir() and not path.is_symlink()
    if is_ours and not _says(path, text):
        write(path, text.encode(), _readers(root))
