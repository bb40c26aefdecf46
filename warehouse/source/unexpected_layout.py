"""A source laid out otherwise than it should be: what was looked for, what is there instead."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from warehouse.core.calendar import today
from warehouse.core.datatypes import DATA_TYPES, DataType
from warehouse.core.paths import BUCKET_PREFIX, parse_raw_path, source_folder
from warehouse.text import some

_FOLDERS = {
    each for kind in DATA_TYPES.values() for each in (kind.vendor_folder, kind.symbol_folder)
}


def pattern(kind: DataType, layout: str) -> str:
    """How the source names the files of a data type, for `layout` "day" or "symbol"."""
    if layout == "day":
        below = "YYYY/MM/YYYY-MM-DD.csv.gz"
    else:
        below = "YYYY/MM/SYMBOL.csv.gz" if kind.monthly_by_symbol else "YYYY/MM/DD/SYMBOL.csv.gz"
    return f"{source_folder(kind, layout)}/{below}"


def instead(names: Sequence[str], url: str, kind: DataType, layout: str) -> str:
    """What files of a data type were looked for, what there is instead, and what would mend it.

    Args:
        names: paths in the source of some of what it holds.
        url: the source's.
    """
    looked = f"looked for {pattern(kind, layout)}"
    if not names:
        return f"{looked}, and found nothing at all; is the disk or the bucket the right one?"
    other = "symbol" if layout == "day" else "day"
    of_other = f"{source_folder(kind, other)}/"
    url = url.rstrip("/")
    for name in names:
        if name.startswith(of_other):
            file = parse_raw_path(kind.name, name.removeprefix(of_other))
            if file is not None and (file.symbol is None) == (other == "day"):
                return f"{looked}; there is {_shown(name)}: set source.layout to {other}"
        before, found, _ = name.partition(f"/{BUCKET_PREFIX}/")
        if found:
            return f"{looked}; there is {_shown(name)}: set source.url to {url}/{before}"
        if name.startswith(f"{kind.vendor_folder}/") and url.endswith(f"/{BUCKET_PREFIX}"):
            return f"{looked}; there is {_shown(name)}: set source.url to {url.rpartition('/')[0]}"
    right = {name: day for name in names if (day := _day(name, kind, layout)) is not None}
    if right:
        first = min(right)
        more = f" and {len(right) - 1:,} more" if len(right) > 1 else ""
        days = "other days"
        if min(right.values()) > today():
            days = f"days to come: this computer's clock says that today is {today()}"
        return f"{looked}; there is {_shown(first)}{more}, of {days}"
    above, _, below = url.partition(f"/{BUCKET_PREFIX}/")
    if below.split("/")[0] in _FOLDERS:
        return f"{looked}; there is {_shown(names[0])}: set source.url to {above}"
    likely = max(names, key=lambda name: _likeness(name, kind, layout))
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"{looked}; there is {_shown(likely)}{more}"


def _day(name: str, kind: DataType, layout: str) -> date | None:
    """Of which day a file is that is named as was looked for; None: it is not."""
    folder = f"{source_folder(kind, layout)}/"
    file = parse_raw_path(kind.name, name.removeprefix(folder)) if name.startswith(folder) else None
    return file.day if file is not None and (file.symbol is None) == (layout == "day") else None


def _shown(name: str) -> str:
    return some([repr(name)], 1)


def _likeness(name: str, kind: DataType, layout: str) -> tuple[bool, ...]:
    """How much a name looks like what was looked for."""
    small, folder = name.casefold(), source_folder(kind, layout)
    return (folder in small, folder.rpartition("/")[2] in small, ".csv" in small)
