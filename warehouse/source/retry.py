"""Asking again, with growing pauses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import tenacity

from warehouse.source.transfer import StoppedError

T = TypeVar("T")

_LONGEST_PAUSE = 60.0


class TransientError(Exception):
    """A failure that may be none the next time: a reset, a silence, a server too busy.

    Attributes:
        pause: seconds that the server asks to be left alone.
        slow: bytes came, but too few.
    """

    def __init__(self, problem: str, *, pause: float = 0.0, slow: bool = False) -> None:
        self.problem, self.pause, self.slow = problem, pause, slow
        super().__init__(problem)


class Retry:
    """Calls something until it does not fail with TransientError.

    Args:
        attempts: how often it is called again; 0: never.
        first_pause: seconds; doubled each time, and up to as much again by chance, so that many
            connections that failed together do not come back together.
        tell: is told before each repetition. May be called from any thread.
    """

    def __init__(self, attempts: int, first_pause: float, tell: Callable[[], None]) -> None:
        self._attempts, self._tell = attempts, tell
        backoff = tenacity.wait_exponential_jitter(
            multiplier=first_pause, max=_LONGEST_PAUSE, jitter=first_pause
        )

        def pause(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.pause if isinstance(error, TransientError) else 0.0
            return max(backoff(state), min(asked, _LONGEST_PAUSE))

        self._pause = pause

    def __call__(self, work: Callable[[], T], stop: threading.Event) -> T:
        """The first answer.

        Raises:
            TransientError: the last failure, after all attempts.
            StoppedError: `stop` was set.
        """

        def unless_stopped() -> T:
            if stop.is_set():
                raise StoppedError
            return work()

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=tenacity.stop_after_attempt(self._attempts + 1),
            wait=self._pause,
            sleep=tenacity.sleep_using_event(stop),
            before_sleep=lambda state: self._tell(),
            reraise=True,
        )
        return retrying(unless_stopped)
