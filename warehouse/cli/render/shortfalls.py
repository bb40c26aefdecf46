"""What a download could not bring, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.file_state import FileState
from warehouse.core.paths import RawFile
from warehouse.pipeline.download_plan import DownloadPlan, did_not_come
from warehouse.source.transfer import Fetched
from warehouse.text import some


def shortfalls(plan: DownloadPlan) -> Iterator[str]:
    """What a download could not bring, and what it found changed: a line for each kind of thing."""

    def state(outcome: Fetched) -> FileState:
        return did_not_come(outcome)[1].state

    for name, outcomes in groupby(sorted(plan.problems, key=state), key=state):
        group = list(outcomes)
        if name == FileState.FAILED:
            yield from (f"failed: {outcome.problem}" for outcome in group)
        elif name == FileState.SET_ASIDE:
            for outcome in group:
                why = str(outcome.problem).removeprefix(f"{outcome.item.file.raw_path.name}: ")
                yield f"{name.words}: {_some([outcome.item.file])}: {why}"
        else:
            yield f"{name.words}: {_some([outcome.item.file for outcome in group])}"
    yield from (f"warning: {problem}" for problem in plan.left_out)
    refused = [item.file for item in plan.not_in_plan]
    if refused:
        yield f"{FileState.NOT_IN_PLAN.words}: {_some(refused)}; give --start to ask for them again"
    if plan.not_yet:
        yield f"{FileState.NOT_YET.words}: {_some([RawFile(*each) for each in plan.not_yet])}"
    if plan.changed:
        yield f"changed at the vendor: {_some([item.file for item in plan.changed])}"
    amiss = {outcome.item.file for outcome in plan.problems}
    if replaced := [item.file for item in plan.replaced if item.file not in amiss]:
        yield f"replaced here, and fetched; what stood here is set aside: {_some(replaced)}"
    if plan.replaced_left:
        yield (
            f"replaced here since they came, and not to be had again: {_some(plan.replaced_left)};"
            " what was published of them stands; to publish what is here: warehouse ingest"
        )
    if plan.changed_before:
        days = [item.file.day for item in plan.changed_before]
        yield (
            f"changed at the vendor and not fetched: {_some([i.file for i in plan.changed_before])}"
            f"; get them with: warehouse update --start {min(days)} --end {max(days)}"
        )


def _some(files: Sequence[RawFile], limit: int = 5) -> str:
    """The first few by name, by data type, and how many more there are."""
    parts = []
    for name in DATA_TYPES:
        these = sorted((file for file in files if file.data_type == name), key=lambda f: f.sort_key)
        if these:
            named = (" ".join([str(file.day), file.symbol or ""]).strip() for file in these)
            parts.append(f"{name} {some(named, limit)}")
    return "; ".join(parts)
