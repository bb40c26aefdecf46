"""Units on threads of this process."""

from __future__ import annotations

import pytest

from warehouse.executors.local import LocalExecutor
from warehouse.executors.work import Share

GIB = 1 << 30


@pytest.mark.parametrize(
    ("whole", "at_once", "each"),
    [
        (Share(1, 64 * GIB), 1, Share(1, 64 * GIB)),
        (Share(4, 2 * GIB), 2, Share(2, GIB)),
        (Share(4, GIB // 2), 1, Share(4, GIB // 2)),
        (Share(3, 63 * GIB), 3, Share(1, 21 * GIB)),
    ],
)
def test_units_share_the_threads_and_the_memory(whole: Share, at_once: int, each: Share) -> None:
    with LocalExecutor(whole) as executor:
        assert executor.at_once == at_once
        assert executor.submit(lambda share: share).result() == each
