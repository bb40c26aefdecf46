"""How an object shows itself to a person: on one short line, and as a small table in a notebook."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
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
