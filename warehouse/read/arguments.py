"""What callers of the facade may say, and what it means: every argument is checked before work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import wraps
from inspect import Parameter, iscoroutinefunction, signature
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeAlias, TypedDict, TypeVar, cast

import pyarrow as pa

from warehouse.bars.adjustment import ADJUSTMENTS, Adjust
from warehouse.bars.spec import By, Excess, Hours
from warehouse.core.calendar import Moment, Span, parse_span, session_at
from warehouse.core.datatypes import DATA_TYPES, DataType, data_type, is_kept_bars
from warehouse.errors import RequestError
from warehouse.read.frame_options import INDEXES, REPEATING, Shape
from warehouse.read.frames import check_form, check_zone
from warehouse.text import is_utf8, meant, one_of

if TYPE_CHECKING:
    from warehouse.core.request import Request

Form: TypeAlias = Literal["pandas", "polars", "arrow"]
Freq: TypeAlias = Literal["minute", "day"]
Missing: TypeAlias = Literal["raise", "ignore"]


class LoadOptions(TypedDict, total=False):
    """What `Warehouse.load` takes by name beside `to`; it says what each means."""

    columns: Sequence[str] | None
    tz: str
    index: str | Sequence[str] | None
    categories: bool | Sequence[str]
    downcast: bool
    missing: Missing
    adjust: Adjust
    as_of: Moment | None
    follow_renames: bool


class BarOptions(TypedDict, total=False):
    """What `Warehouse.bars` takes by name beside `every` and `to`; it says what each means."""

    by: By
    hours: Hours | None
    excess: Excess
    span: int
    fill: bool
    columns: Sequence[str] | None
    tz: str
    index: str | Sequence[str] | None
    missing: Missing
    adjust: Adjust
    as_of: Moment | None
    follow_renames: bool


class StreamOptions(TypedDict, total=False):
    """What `Warehouse.stream` takes by name beside `to`; it says what each means."""

    columns: Sequence[str] | None
    batch_rows: int
    tz: str
    missing: Missing
    adjust: Adjust
    as_of: Moment | None
    follow_renames: bool


P = ParamSpec("P")
T = TypeVar("T")

ALL = "*"
"""In the place of symbols: all that there are."""
_MISSING = ("raise", "ignore")
_BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_CATEGORICAL = (pa.string(), pa.int8(), pa.int16())


@dataclass(frozen=True)
class Comparison:
    """What makes rows of different days comparable, checked.

    Attributes:
        adjust: one of `ADJUSTMENTS`.
        as_of: the last session whose actions count.
        follow_renames: of each symbol's security the rows under all symbols that it had.
    """

    adjust: str
    as_of: date
    follow_renames: bool = False


@dataclass(frozen=True)
class Question:
    """What is asked of one data type, checked.

    Attributes:
        symbols: in the order asked, none twice; none: all that there are.
        columns: in the order asked, none twice.
        whole: what is not there is an error, and not left out.
    """

    kind: DataType
    symbols: tuple[str, ...]
    span: Span
    columns: tuple[str, ...]
    shape: Shape
    whole: bool
    comparison: Comparison


def question(
    data_type: str,
    symbols: str | Sequence[str],
    start: Moment,
    end: Moment | None = None,
    *,
    columns: Sequence[str] | None = None,
    to: str = "pandas",
    tz: str = "UTC",
    index: str | Sequence[str] | None = None,
    categories: bool | Sequence[str] = False,
    downcast: bool = False,
    missing: str = "raise",
    adjust: str = "none",
    as_of: Moment | None = None,
    follow_renames: bool = False,
) -> Question:
    """What is asked of `Warehouse.load`, whose arguments these are.

    Raises:
        RequestError: an argument is not one of the things it may be.
    """
    kind = kind_of(data_type)
    is_all = isinstance(symbols, str) and symbols == ALL
    names, span = () if is_all else symbols_of(symbols), parse_span(start, end)
    wanted = columns_of(kind, columns)
    form, zone = check_form(to), check_zone(tz)
    keys = index_of(index, form)
    if not isinstance(downcast, bool):
        raise RequestError("downcast", downcast, "it may be True or False")
    shape = Shape(form, zone, keys, categories_of(kind, categories), downcast)
    whole = choice("missing", missing, _MISSING) == "raise"
    comparison = comparison_of(span, adjust, as_of, follow_renames, is_all=is_all)
    rest = tuple(name for name in wanted if name not in keys)
    return Question(kind, names, span, rest, shape, whole, comparison)


def comparison_of(
    span: Span, adjust: str, as_of: Moment | None, follow_renames: bool, *, is_all: bool = False
) -> Comparison:
    """What makes the rows of a span comparable.

    Args:
        as_of: None: the last session of the span, so that nothing after it is looked at.
        is_all: all symbols are asked for, none by name.

    Raises:
        RequestError: `adjust` is another word; `as_of` is no session, lies before the end of what
            is asked, or is given where nothing is adjusted; renames are to be followed of all.
    """
    choice("adjust", adjust, ADJUSTMENTS)
    if not isinstance(follow_renames, bool):
        raise RequestError("follow_renames", follow_renames, "it may be True or False")
    if follow_renames and is_all:
        raise RequestError(
            "follow_renames", True, "a series is that of a symbol: name the symbols, not all"
        )
    if as_of is None:
        return Comparison(adjust, span.last, follow_renames)
    known = session_at("as_of", as_of)
    if adjust == "none":
        raise RequestError("as_of", str(as_of), "nothing is adjusted: add adjust='splits' or 'all'")
    if known < span.last:
        raise RequestError(
            "as_of", str(known), f"it lies before the end of what is asked, {span.last}"
        )
    return Comparison(adjust, known, follow_renames)


def named(*options_of: Callable[..., Any]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Tells a caller who misspelt the name of an argument which one was meant.

    Args:
        options_of: the functions that the decorated one's own `**options` go to.

    Raises:
        RequestError: by the function that is made, where there is no argument of that name.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        valid = tuple(
            dict.fromkeys(
                name
                for each in (function, *options_of)
                for name, parameter in signature(each).parameters.items()
                if parameter.kind in _BY_NAME
                and name != "self"
                and (each is function or parameter.default is not Parameter.empty)
            )
        )
        known = frozenset(valid)

        @wraps(function)
        def asked(*arguments: P.args, **options: P.kwargs) -> T:
            if not known.issuperset(options):
                name = next(name for name in options if name not in known)
                raise RequestError(name, options[name], one_of(name, valid, "the arguments are"))
            return function(*arguments, **options)

        @wraps(function)
        async def awaited(*arguments: P.args, **options: P.kwargs) -> Any:
            return await cast(Any, asked)(*arguments, **options)

        return cast(Callable[P, T], awaited) if iscoroutinefunction(function) else asked

    return decorate


def choice(parameter: str, value: Any, valid: Iterable[str]) -> str:
    """The value, which must be one of the valid ones.

    Raises:
        RequestError: it is another.
    """
    names = list(valid)
    if not isinstance(value, str) or value not in names:
        raise RequestError(parameter, value, one_of(value, names))
    return value


def kind_of(name: str) -> DataType:
    """The data type of that name: one of the vendor's, or of kept bars.

    Raises:
        RequestError: there is no such data type.
    """
    if isinstance(name, str) and is_kept_bars(name):
        return data_type(name)
    return data_type(choice("data type", name, DATA_TYPES))


def kinds_of(
    names: str | Sequence[str], valid: Iterable[str] = tuple(DATA_TYPES)
) -> tuple[DataType, ...]:
    """One of the vendor's data types or several, each once, in the order named.

    Args:
        valid: those that may be named.

    Raises:
        RequestError: there is none, or one is unknown.
    """
    named = _named(names)
    if not named:
        raise RequestError("data_types", names, f"name at least one of {', '.join(valid)}")
    return tuple(dict.fromkeys(data_type(choice("data type", name, valid)) for name in named))


def symbols_of(symbols: str | Sequence[str]) -> tuple[str, ...]:
    """One symbol or several, each once, in the order named.

    Raises:
        RequestError: there is none, or it is no text; or it is ALL, where not all can be asked for.
    """
    if isinstance(symbols, str) and symbols == ALL:
        # As a symbol it would be one that nobody has, and so no row, or nothing to find fault with.
        raise RequestError("symbols", ALL, "all of them cannot be asked for here: name them")
    named = _named(symbols)
    if not named or not all(isinstance(each, str) and each and is_utf8(each) for each in named):
        raise RequestError("symbols", symbols, "it must be a symbol, or several of them")
    return tuple(dict.fromkeys(named))


def columns_of(kind: DataType, columns: Sequence[str] | None) -> tuple[str, ...]:
    """Columns of a data type in the order named; None: all of them, in its own.

    Raises:
        RequestError: one is unknown or named twice, or none is named.
    """
    return columns_of_all((kind,), columns)


def columns_of_all(kinds: Sequence[DataType], columns: Sequence[str] | None) -> tuple[str, ...]:
    """Columns that at least one of the data types has; else as `columns_of`."""
    valid = list(dict.fromkeys(name for kind in kinds for name in kind.columns.names))
    if columns is None:
        return tuple(valid)
    named = _named(columns)
    for place, name in enumerate(named):
        if name not in valid:
            names = " and ".join(kind.name for kind in kinds)
            raise RequestError("columns", name, one_of(name, valid, f"{names} have"))
        if name in named[:place]:
            raise RequestError("columns", name, "it stands twice")
    if not named:
        raise RequestError("columns", columns, f"name at least one of {', '.join(valid)}")
    return named


def index_of(index: str | Sequence[str] | None, form: str) -> tuple[str, ...]:
    """The columns of a pandas index; none where rows are to be numbered.

    Raises:
        RequestError: it is no index that rows can be found by, or the form has none.
    """
    named = () if index is None else _named(index)
    if named not in INDEXES or (index is not None and not named):
        keys = INDEXES[-1]
        hint = next((meant(name, keys) for name in named if name not in keys), "")
        raise RequestError(
            "index", index, f"it may be None, 'timestamp', ('timestamp', 'symbol'){hint}"
        )
    if named and form != "pandas":
        raise RequestError("index", index, f"only pandas has one, not {form}")
    return named


def categories_of(kind: DataType, categories: bool | Sequence[str]) -> tuple[str, ...]:
    """The columns that become categories; True: those whose values repeat.

    Raises:
        RequestError: one is unknown, or of a type that makes no categories.
    """
    if categories is True:
        return tuple(name for name in kind.columns.names if name in REPEATING)
    valid = [field.name for field in kind.columns if field.type in _CATEGORICAL]
    named = () if categories is False else _named(categories)
    if categories is not False and not named:
        raise RequestError("categories", categories, f"True, False or some of {', '.join(valid)}")
    for name in named:
        if name not in valid:
            raise RequestError("categories", name, one_of(name, valid))
    return tuple(name for name in valid if name in named)


def seconds_of(wait: Any) -> float:
    """How long is to be waited for another writer.

    Raises:
        RequestError: it is no number of seconds.
    """
    seconds = float(wait) if isinstance(wait, Real) and not isinstance(wait, bool) else -1.0
    if not seconds >= 0:
        raise RequestError("wait", wait, "it must be a number of seconds; math.inf: to the end")
    return seconds


def run_request(
    data_types: str | Sequence[str],
    start: Moment | None,
    end: Moment | None,
    symbols: str | Sequence[str] | None = None,
    allow: str | Sequence[str] = (),
) -> Request:
    """What is asked of a run that writes; no data type means all, and of instants their sessions.

    Raises:
        RequestError: an argument is not one of the things it may be.
    """
    from warehouse.core.request import Request

    return Request.of(
        list(dict.fromkeys(kind_of(name).name for name in _named(data_types))),
        None if start is None else session_at("start", start),
        None if end is None else session_at("end", end, is_end=True),
        () if symbols is None else symbols_of(symbols),
        [allow] if isinstance(allow, str) else allow,
    )


def _named(names: Any) -> tuple[Any, ...]:
    """One name or several as a tuple; of what is neither, it alone: whoever looks at it refuses it.

    To leave it out would be to take a day in the place of data types for all of them.
    """
    if isinstance(names, pa.Array | pa.ChunkedArray | pa.Scalar):
        names = names.to_pylist() if hasattr(names, "to_pylist") else names.as_py()
    if getattr(names, "ndim", None) == 0:
        # Of numpy, and of what is built on it: one value, which only looks like many.
        names = names.item()
    if names is None:
        return ()
    if isinstance(names, str) or not isinstance(names, Iterable):
        return (names,)
    return tuple(each.as_py() if isinstance(each, pa.Scalar) else each for each in names)
