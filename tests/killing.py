"""A process that is killed in the middle of its work, without killing the one that tests it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class Killed(BaseException):
    """Stands for a kill: no handler of errors may catch it."""


@contextmanager
def killed_at(number: int) -> Iterator[list[str]]:
    """Everything ends just before the so-manieth rename or removal of a file or a folder."""
    calls: list[str] = []
    real = {name: getattr(os, name) for name in ("replace", "unlink", "rmdir", "rename")}

    def wrap(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) > number:
                # Nothing that is cleaned up on the way out happens either.
                raise Killed
            return real[name](*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in real:
            patch.setattr(os, name, wrap(name))
        yield calls
