"""Text as others may safely take it (a terminal, a log, a program), and figures in words."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

_SHOWN = 200
_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def printable(text: str) -> str:
    r"""The text without anything a terminal would obey, reorder or break the line at.

    Such letters are spelt out as Python does: ESC is `\x1b`, a right-to-left override `\u202e`, a
    byte of a file's name that is no UTF-8 `\udcff`. Names of files, symbols and columns, and what a
    server answers, are a stranger's: whatever is shown to a person goes through here.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def shell_word(text: str) -> str:
    r"""The text as one word of a command that a person may paste into bash, zsh or ksh.

    What `printable` spells out is spelt as these shells read it, by its bytes: `$'A\033[31mB'`.
    So the command names what was meant, and nothing in it is obeyed on the way. The bytes are in
    octal: of `\x` POSIX leaves open how many digits it takes.
    """
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{''.join(map(_in_ansi_c_quotes, text))}'"


def _in_ansi_c_quotes(letter: str) -> str:
    if letter in "\\'":
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    of_a_file_name = "\udc80" <= letter <= "\udcff"  # a byte of it that is no UTF-8
    spelt = letter.encode(errors="surrogateescape" if of_a_file_name else "surrogatepass")
    return "".join(f"\\{byte:03o}" for byte in spelt)


def is_utf8(text: str) -> bool:
    """Whether it can be written as UTF-8: bytes of a command line that are none cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def one_of(name: Any, valid: Iterable[str], lead: str = "it may be") -> str:
    """What may stand where `name` does: `it may be trades, quotes; did you mean trades?`."""
    names = list(valid)
    return f"{lead} {', '.join(names)}{meant(name, names)}"


def meant(name: Any, valid: Iterable[str]) -> str:
    """The valid name that is nearest, as the end of a sentence; empty where none is near."""
    folded = {each.casefold(): each for each in valid}
    near = get_close_matches(str(name).casefold(), folded, 1)
    return f"; did you mean {folded[near[0]]}?" if near else ""


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with `~` and `~user` at its beginning as a home folder.

    A user who does not exist has none: `~x` is then a folder here of that name, as in a shell.
    """
    return Path(os.path.expanduser(path))


def as_json(value: Any, indent: int | None = None, *, compact: bool = False) -> str:
    """The value as JSON that every reader takes: what is no finite number is null.

    JSON has no NaN and no infinity. Letters outside ASCII are escaped, and with them all that a
    terminal would obey. What JSON has no word for, such as a date or a path, is its text.
    """

    def dump(it: Any) -> str:
        separators = (",", ":") if compact else None
        return json.dumps(it, indent=indent, separators=separators, allow_nan=False, default=str)

    try:
        return dump(value)
    except ValueError:
        return dump(_finite(value))


def escaped_json(line: str) -> str:
    r"""JSON of one line, its letters outside ASCII as they are, but for those of `printable`.

    They stand as JSON escapes: the value is the same, and no terminal obeys it.
    """
    if line.isprintable():
        return line
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in line)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def size(count: int) -> str:
    """Bytes as `26.4 MB`, in powers of ten."""
    value = float(count)
    for unit in _UNITS:
        if value < 999.95 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{count:,} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"


def count(number: int, noun: str) -> str:
    """`1 file`, `12,345 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(part: int, whole: int) -> str:
    """`94.10 %`; a share, of one or more, reads as 100 % only where it is all."""
    if part == whole:
        return "100 %"
    return f"{min(part / whole * 100, 99.99):.2f} %"


def listed(names: Sequence[str], word: str = "and") -> str:
    """All of them: `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {word} {names[-1]}"


def some(items: Iterable[str], limit: int) -> str:
    """The first few of many, and how many more there are: `A, B and 1,234 more`.

    Of a name that is none, for its length, the beginning is shown.
    """
    named = list(items)
    more = f" and {len(named) - limit:,} more" if len(named) > limit else ""
    shown = (each if len(each) <= _SHOWN else f"{each[:_SHOWN]}…" for each in named[:limit])
    return ", ".join(shown) + more


def minute(stamp: str) -> str:
    """`2024-01-02 09:30` of an instant in ISO's form."""
    return stamp[:16].replace("T", " ")


def duration(seconds: float) -> str:
    """`0.4 s`, `75 s`, `12 min`, `3 h 20 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
