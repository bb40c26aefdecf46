"""flatfile-warehouse: an analytical warehouse for US-equity flat files on one machine.

from warehouse import Warehouse
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from warehouse.api import Warehouse
    from warehouse.errors import WarehouseError
    from warehouse.read.coverage import coverage_report
    from warehouse.read.models import Aggregate, Quote, Trade, rows

    __version__: str

__all__ = [
    "Aggregate",
    "Quote",
    "Trade",
    "Warehouse",
    "WarehouseError",
    "__version__",
    "coverage_report",
    "rows",
]

_HOMES = {
    "Aggregate": "warehouse.read.models",
    "Quote": "warehouse.read.models",
    "Trade": "warehouse.read.models",
    "Warehouse": "warehouse.api",
    "WarehouseError": "warehouse.errors",
    "coverage_report": "warehouse.read.coverage",
    "rows": "warehouse.read.models",
}


def __getattr__(name: str) -> Any:
    # Not before they are asked for: `warehouse --help` need not wait for pandas.
    if name == "__version__":
        from importlib.metadata import version

        return version("flatfile-warehouse")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
