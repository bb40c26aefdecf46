"""What became of the vendor's files and of sessions, and what a person is told of it."""

from __future__ import annotations

from enum import StrEnum


class FileState(StrEnum):
    """The column `state` of the catalog's table `source_files`."""

    DOWNLOADED = "downloaded"
    INGESTED = "ingested"
    ROWS_LOST = "rows_lost"
    SET_ASIDE = "set_aside"
    FAILED = "failed"
    MISSING = "missing"
    NOT_YET = "not_yet"
    NOT_IN_PLAN = "not_in_plan"

    @property
    def words(self) -> str:
        return WORDS[self]

    @property
    def is_here(self) -> bool:
        """Whether its bytes came, whole, and are in the raw tier or published."""
        return self is FileState.DOWNLOADED or self.was_published

    @property
    def was_published(self) -> bool:
        """Whether its rows were published, all of which may be there, or some lost."""
        return self in (FileState.INGESTED, FileState.ROWS_LOST)


WORDS: dict[str, str] = {
    FileState.DOWNLOADED: "downloaded and not ingested",
    FileState.INGESTED: "ingested",
    FileState.ROWS_LOST: "published, and rows of it are lost",
    FileState.SET_ASIDE: "set aside",
    FileState.FAILED: "failed to download",
    FileState.MISSING: "missing at the vendor",
    FileState.NOT_YET: "not yet published",
    FileState.NOT_IN_PLAN: "not in your plan",
    "present": "present",
    "no_rows": "no rows",
    "rejected": "all its rows were rejected",
    "unknown": "no symbol of that name in the warehouse",
    "not_selected": "left out by source.symbols",
    "not_ingested": "not ingested",
    "here": "here",
    "waiting": "downloaded and not ingested",
    "never": "never asked for",
    "outside": "outside of what there is of the data type",
}
"""States of files; then of sessions and symbols, as sql/coverage has them; then of sessions in the
report, which does not tell symbols apart."""
