"""What became of one of the vendor's files, and what a person is told of it."""

from __future__ import annotations

from enum import StrEnum


class FileState(StrEnum):
    """The column `state` of the catalog's table `source_files`."""

    DOWNLOADED = "downloaded"
    INGESTED = "ingested"
    SET_ASIDE = "set_aside"
    FAILED = "failed"
    MISSING = "missing"
    NOT_YET = "not_yet"
    NOT_IN_PLAN = "not_in_plan"

    @property
    def words(self) -> str:
        return _WORDS[self]

    @property
    def is_here(self) -> bool:
        """Whether its bytes came, whole, and are in the raw tier or published."""
        return self in (FileState.DOWNLOADED, FileState.INGESTED)


_WORDS = {
    FileState.DOWNLOADED: "downloaded and not ingested",
    FileState.INGESTED: "ingested",
    FileState.SET_ASIDE: "set aside",
    FileState.FAILED: "failed to download",
    FileState.MISSING: "missing at the vendor",
    FileState.NOT_YET: "not yet published",
    FileState.NOT_IN_PLAN: "not in your plan",
}
