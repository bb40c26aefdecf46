"""One short id of everything that stands behind an answer."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from importlib.metadata import version
from typing import Any


def fingerprint(*facts: Any) -> str:
    """The id of these facts (what JSON can say) and of this library's version: 16 hex digits."""
    said = json.dumps([_version(), *facts], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(said.encode(errors="surrogatepass")).hexdigest()[:16]


@lru_cache(maxsize=1)
def _version() -> str:
    return version("flatfile-warehouse")
