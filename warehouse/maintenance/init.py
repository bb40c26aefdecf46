"""Lay out a warehouse: config/, sql/ and data/, in a new folder or around what is there already."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from warehouse.core.config import CONFIG_FILE, PARTITION_LAYOUTS, Config, check_paths, load
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import BUCKET_PREFIX, absolute, shipped
from warehouse.core.permissions import Confines, is_strangers_link, owner_of
from warehouse.errors import ForeignWarehouseError, RequestError, SourceError, StorageError
from warehouse.sqlfolder.shipped_files import refresh, write
from warehouse.text import expanded, is_utf8, one_of

_LAYOUTS = ("day", "symbol")
_EMPTY_URL = re.compile(r"""^(  url:)[ ]*(?:""|'')?[ ]*(#[^\r\n]*)?(?=\r?$)""", re.MULTILINE)
_LAYOUT = re.compile(r"^(  layout: *)day\b", re.MULTILINE)
_PARTITIONS_LAYOUT = r"^(    {}: *)(?:market|symbol)\b"
_ENDPOINT = re.compile(r"^(  endpoint: *)\S+", re.MULTILINE)
_SYMBOLS = re.compile(r"^(  symbols: *)\[\]", re.MULTILINE)
_ADDRESS = re.compile(r"https?://[\w.:@\[\]/~%-]+")
_PLAIN = re.compile(r"[A-Za-z/.][\w/.+~@:-]*[\w/]")


@dataclass(frozen=True)
class Laid:
    """A warehouse that has been laid out.

    Attributes:
        root: its folder.
        is_new: there was no configuration file before.
        added: what was put there; paths below `root`.
        replaced: are as the project ships them now; nobody had changed them.
        removed: the project ships them no more, and nobody had changed them.
        differing: files of the user's that are not as the project ships them; they were kept.
        config: the settings as data_config.yaml has them now.
    """

    root: Path
    is_new: bool
    added: tuple[str, ...]
    replaced: tuple[str, ...]
    removed: tuple[str, ...]
    differing: tuple[str, ...]
    config: Config


def source_url(text: str) -> str:
    """A source as the configuration names it: `s3://…` as it is, a folder as an absolute path.

    Raises:
        SourceError: there is no such folder, or it is one too deep.
        RequestError: it is neither a folder nor on S3.
    """
    if text.startswith("s3://"):
        return text
    if "://" in text and not text.startswith("file://"):
        raise RequestError("source", text, "it may be a folder or s3://BUCKET")
    folder = absolute(expanded(text.removeprefix("file://")))
    if not text or not folder.is_dir():
        raise SourceError(text, "there is no such folder")
    if folder.name == BUCKET_PREFIX and not (folder / BUCKET_PREFIX).exists():
        raise SourceError(text, f"give the folder above, the one that holds {BUCKET_PREFIX}/")
    return str(folder)


def lay_out(
    root: Path,
    source: str = "",
    layout: str = "",
    endpoint: str = "",
    symbols: Sequence[str] = (),
    partitions: Mapping[str, str] | None = None,
) -> Laid:
    """Make `root` a warehouse; of one that is there already, add what is missing.

    No file of the user's is changed, except that an empty `source.url` is filled in. A shipped file
    that nobody has changed gives way to the present version.

    Args:
        source: becomes `source.url`, as `source_url` gives it; empty: none yet.
        layout: becomes `source.layout` of a new warehouse; empty: `day`.
        endpoint: becomes `source.endpoint` of a new warehouse; empty: the vendor's.
        symbols: become `source.symbols` of a new warehouse; none: all.
        partitions: by data type, becomes `storage.layout` of a new warehouse.

    Raises:
        RequestError: there is no such layout, the endpoint is no address, or a text is no UTF-8.
        ConfigError: the configuration that is there cannot be used.
        ForeignWarehouseError: it is somebody else's, and leads to what is not theirs; or what is
            there are links of theirs.
        StorageError: the disk refuses.
    """
    if layout and layout not in _LAYOUTS:
        raise RequestError("layout", layout, one_of(layout, _LAYOUTS))
    partitions = partitions or {}
    for name, wanted in partitions.items():
        if name not in DATA_TYPES:
            raise RequestError("layout", f"{name}={wanted}", one_of(name, DATA_TYPES))
        if wanted not in PARTITION_LAYOUTS:
            raise RequestError("layout", f"{name}={wanted}", one_of(wanted, PARTITION_LAYOUTS))
    if endpoint and not _ADDRESS.fullmatch(endpoint):
        raise RequestError("endpoint", endpoint, "it must be https://HOST or http://HOST:PORT")
    for name, text in (("source", source), *(("symbol", symbol) for symbol in symbols)):
        if not is_utf8(text):
            raise RequestError(name, text, "it must be UTF-8")
    if "*" in symbols:
        raise RequestError("symbols", "*", "it is no symbol; without --symbols all are taken")
    config_file = root / CONFIG_FILE
    is_new = not config_file.exists()
    config = Config() if is_new else load(config_file, {})
    data = config.layout(root).data
    if is_new:
        _check_links(root, data)
    else:
        check_paths(root, config_file, config)
    added: list[str] = []
    try:
        files = refresh(root, config, restore=True)
        added += files.added
        if not data.is_dir():
            config.modes.make_folders(data)
            added.append(f"{_below(data, root)}/")
        # Last, because it is what makes the folder a warehouse.
        text = _text(shipped("config") / CONFIG_FILE.name if is_new else config_file)
        settled = text
        if source and not config.source.url:
            settled = _EMPTY_URL.sub(lambda match: _url_line(match, source), text, count=1)
        if layout and is_new:
            settled = _LAYOUT.sub(rf"\g<1>{layout}", settled, count=1)
        for name, wanted in partitions.items() if is_new else ():
            pattern = re.compile(_PARTITIONS_LAYOUT.format(name), re.MULTILINE)
            settled = pattern.sub(rf"\g<1>{wanted}", settled, count=1)
        if endpoint and is_new:
            settled = _ENDPOINT.sub(rf"\g<1>{endpoint}", settled, count=1)
        if symbols and is_new:
            listed = json.dumps(list(symbols), ensure_ascii=False)
            settled = _SYMBOLS.sub(lambda match: f"{match[1]}{listed}", settled, count=1)
        if is_new or settled != text:
            write(config_file, settled.encode())
            added.insert(0, CONFIG_FILE.as_posix() + ("" if is_new else " (source.url)"))
    except OSError as error:
        raise StorageError(
            error.filename or root, f"cannot be written: {error.strerror or error}"
        ) from error
    return Laid(
        root,
        is_new,
        tuple(added),
        tuple(files.replaced),
        tuple(files.removed),
        tuple(files.differing),
        load(config_file, {}),
    )


def _check_links(root: Path, data: Path) -> None:
    """Refuse a folder in which a stranger's link leads to what is neither in it nor theirs.

    With the user's own configuration in it all of it would be the user's, wherever it leads.
    """
    for path in (root / CONFIG_FILE.parent, root / "sql", data, *sorted(data.glob("*"))):
        if not is_strangers_link(path):
            continue
        confines = Confines(Path(os.path.realpath(root)), path.lstat().st_uid)
        if problem := confines.problem(path):
            told = f"belongs to {owner_of(path)}, not to you, and {problem}"
            raise ForeignWarehouseError(path, f"{told}; name another folder, or remove the link")


def _below(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, absolute(root))).as_posix()


def _text(path: Path) -> str:
    """The file's text with its line ends as they are."""
    return path.read_bytes().decode()


def _url_line(match: re.Match[str], source: str) -> str:
    value = source if _PLAIN.fullmatch(source) else json.dumps(source, ensure_ascii=False)
    line = f"{match[1]} {value}"
    return f"{line}  {match[2]}" if match[2] else line
