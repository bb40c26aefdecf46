"""Units as tasks of Ray."""

from __future__ import annotations

import logging
import os
import socket
from concurrent.futures import Future
from typing import Any

from warehouse.errors import EngineError, one_line
from warehouse.executors.work import AHEAD, Share, T, Unit, packed, perform, unpacked

_PATIENCE_SECONDS = 10
_AGAIN = 3
"""A task whose process or machine died is begun again so often."""


class RayExecutor:
    """Runs units on the workers of a Ray cluster.

    It is the one that this process has joined, or that RAY_ADDRESS names; else one of this machine.

    Args:
        wanted: of a task; no more than the smallest machine of the cluster has.

    Raises:
        EngineError: there is no Ray, or it cannot be joined.
    """

    is_here = False

    def __init__(self, wanted: Share) -> None:
        try:
            import ray
        except ImportError as error:
            raise EngineError(
                "ray", "is not installed; pip install 'flatfile-warehouse[ray]'"
            ) from error
        self._ray = ray
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            _check_answers(os.environ.get("RAY_ADDRESS", ""))
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
            except (ConnectionError, OSError, RuntimeError, ValueError) as error:
                raise EngineError("ray", f"cannot be joined: {one_line(error)}") from error
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        nodes = [node for node in nodes if node.get("CPU", 0) >= 1]
        if not nodes:
            raise EngineError("ray", "has no machine with a processor for a task")
        threads = int(min(wanted.threads, *(node["CPU"] for node in nodes)))
        # Of a machine's memory a task may have as much as of its processors.
        memory = int(min(wanted.memory_bytes, *(_part(node, threads) for node in nodes)))
        self.share = Share(threads, memory)
        self.at_once = sum(int(node["CPU"]) // threads for node in nodes) * AHEAD
        self._begun: set[Any] = set()
        self._perform = ray.remote(num_cpus=threads, memory=memory, max_retries=_AGAIN)(perform)

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        for answer in list(self._begun):
            self._ray.cancel(answer, force=True)
        if self._is_ours:
            self._ray.shutdown()

    def submit(self, unit: Unit[T]) -> Future[T]:
        """Begin a unit as a task."""
        answer = self._perform.remote(packed(unit, self._ray.cloudpickle.dumps), self.share)
        self._begun.add(answer)
        found: Future[Any] = Future()
        found.set_running_or_notify_cancel()
        answer.future().add_done_callback(lambda done: self._settle(answer, found, done))
        return found

    def _settle(self, answer: Any, found: Future[Any], done: Future[bytes]) -> None:
        self._begun.discard(answer)
        error = done.exception()
        try:
            if error is not None:
                raise EngineError("ray", one_line(error)) from error
            found.set_result(unpacked(done.result()))
        except BaseException as told:
            found.set_exception(told)


def _check_answers(address: str) -> None:
    """Ask whether anything answers there: Ray itself would wait for minutes, and end the process.

    Args:
        address: HOST:PORT, perhaps behind `ray://`; of another, Ray says what is wrong with it.

    Raises:
        EngineError: nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_SECONDS).close()
        except (OSError, OverflowError) as error:
            told = f"cannot be joined at RAY_ADDRESS = {address}: {one_line(error)}"
            raise EngineError("ray", told) from error


def _part(node: dict[str, float], threads: int) -> float:
    return node.get("memory", 0) * threads / node["CPU"]
