"""What a process takes, whole from start to exit: time, CPU, memory.

Peak memory is that of a cgroup of its own (page cache counts) where the system lets us make one.
Elsewhere it is what the process and its children held besides shared memory, and the growth of the
system's shared memory; both sampled together.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """Seconds, CPU seconds of it and its children, bytes at the peak (0: untold)."""

    wall: float
    cpu: float
    memory: int

    @property
    def busy(self) -> float:
        """Which share of all cores' time."""
        return self.cpu / self.wall / (os.cpu_count() or 1)


class CommandError(Exception):
    """A command failed; `told` is what it wrote to standard error."""

    def __init__(self, command: Sequence[str], told: str) -> None:
        super().__init__(f"{' '.join(command)[:200]} failed:\n{told}")
        self.told = told


def cost_or_exit(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command without which the benchmark is worth nothing."""
    try:
        return cost_of(command, environment)
    except CommandError as error:
        sys.exit(str(error))


def cost_of(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command, with these variables besides our own.

    Raises:
        CommandError: it failed.
    """
    # What the one before it left to be written is not to slow this one.
    os.sync()
    with _cgroup() as group:
        # The shell enters the group and becomes the command.
        entering = ["sh", "-c", _ENTER, str(group)] if group else []
        began = time.monotonic()
        process = subprocess.Popen(
            [*entering, *command],
            env={**os.environ, **(environment or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        assert process.stderr is not None
        with _Memory(process.pid) as memory:
            complaint = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise CommandError(command, complaint)
        peak = int((group / "memory.peak").read_text()) if group else memory.peak
    return Cost(wall, usage.ru_utime + usage.ru_stime, peak)


_ENTER = 'echo $$ > "$0/cgroup.procs" && exec "$@"'


@contextmanager
def _cgroup() -> Iterator[Path | None]:
    """A new cgroup (v2) whose memory is counted; None where we are not given one."""
    group = Path("/sys/fs/cgroup") / f"warehouse-bench-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        yield None
        return
    try:
        tried = ["sh", "-c", _ENTER, str(group), "true"]
        is_ours = (group / "memory.peak").exists() and not subprocess.run(tried).returncode
        yield group if is_ours else None
    finally:
        with suppress(OSError):
            group.rmdir()


class _Memory:
    """The most memory that a process and its children held at a time, sampled; 0: untold."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._pid = pid
        self._before = _shared()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            if held := _resident(self._pid):
                self.peak = max(self.peak, held + max(0, _shared() - self._before))


def _resident(pid: int) -> int:
    """Bytes of a process and its descendants, without shared memory."""
    held = 0
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(("RssAnon:", "RssFile:")):
                held += int(line.split()[1]) * 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            held += sum(_resident(int(child)) for child in (task / "children").read_text().split())
    return held


def _shared() -> int:
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("Shmem:"):
                return int(line.split()[1]) * 1024
    return 0
