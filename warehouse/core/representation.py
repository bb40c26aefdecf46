"""How an object shows itself: to a person on a line, or in a notebook; to a program as JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from typing import Any

from markupsafe import Markup

from warehouse.text import printable

MOST = 200
"""So many characters a line has at most."""

_MOST_OF_ONE = 160


class Face:
    """What has a face says in `_face` what it is; both forms are made of that.

    Neither reads a file, asks a database or waits for a lock.
    """

    def _face(self) -> Mapping[str, Any]:
        """The few figures that count, by name, those first that count most; None is left out.

        What is named "" is what the object is of, and stands without a name.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={text}" if name else text for name, text in _texts(self._face()))
        line = f"{type(self).__name__}({said})"
        return line if len(line) <= MOST else f"{line[: MOST - 2]}…)"

    def _repr_html_(self) -> str:
        row = Markup("<tr><th>{}</th><td>{}</td></tr>")
        rows = [row.format(name.replace("_", " "), text) for name, text in _texts(self._face())]
        table = Markup("<table><caption>{}</caption>{}</table>")
        return str(table.format(type(self).__name__, Markup().join(rows)))


def as_object(thing: Any, *names: str, **more: Any) -> dict[str, Any]:
    """An object in terms of JSON.

    Args:
        names: the attributes that are told; none: all fields of a dataclass, but for those that are
            declared with repr=False.
        more: what is told besides, or in the place of a field.
    """
    told = names or [item.name for item in fields(thing) if item.repr]
    values = {name: getattr(thing, name) for name in told if name not in more}
    return {name: plain(value) for name, value in {**values, **more}.items()}


def plain(value: Any, timespec: str = "auto") -> Any:
    """A value in terms of JSON. A datetime is UTC; a file of the vendor's is told by its key.

    Args:
        timespec: how exact a datetime is told; see `datetime.isoformat`.
    """
    if isinstance(value, str | os.PathLike):
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    if isinstance(value, datetime):
        return f"{value.replace(tzinfo=None).isoformat(timespec=timespec)}Z"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {plain(key): plain(item, timespec) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, timespec) for item in value]
    if isinstance(value, AbstractSet):
        return sorted(plain(item, timespec) for item in value)
    if is_dataclass(value):
        return value.key if hasattr(value, "key") else as_object(value)
    return value


def _texts(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in figures.items():
        if value is not None:
            text = _text(value)
            if len(text) > _MOST_OF_ONE:
                # Of a path the end says most.
                text = f"{text[:40]}…{text[41 - _MOST_OF_ONE :]}"
            yield name, text


def _text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, str | os.PathLike):
        # Escaped by Python as `printable` does it, and a quote within as well.
        return printable(repr(os.fspath(value)))
    return printable(str(value))
