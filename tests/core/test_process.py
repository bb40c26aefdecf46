"""A fork and the answers of other threads: who waits for whom, and for how long."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from warehouse.core import process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="others do not fork with threads")


def forked(ending: int = 0) -> int:
    """Fork, and give the code with which the child ends."""
    child = os.fork()
    if child == 0:
        os._exit(ending)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextmanager
def answering() -> Iterator[None]:
    """Another thread's answer is under way within the block."""
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        with process.answers:
            begun.set()
            over.wait()

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gives up waiting: who waits for the wrong one hangs."""
    monkeypatch.setattr(process, "_LONGEST_WAIT_SECONDS", threading.TIMEOUT_MAX)


@pytest.mark.usefixtures("no_end")
def test_a_thread_forks_within_its_own_answer_and_the_child_answers_on() -> None:
    with process.answers:
        child = os.fork()
        if child == 0:
            with process.answers:
                pass
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert forked(3) == 3


@pytest.mark.usefixtures("no_end")
def test_answers_that_follow_one_another_without_a_pause_do_not_keep_a_fork_waiting() -> None:
    busy = True

    def work() -> None:
        while busy:
            with process.answers:
                time.sleep(0.01)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    codes = [forked(5) for _ in range(5)]
    busy = False
    for thread in threads:
        thread.join()
    assert codes == [5] * 5


def test_an_answer_that_takes_long_keeps_a_fork_waiting_for_a_while_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "_LONGEST_WAIT_SECONDS", 0.1)
    with answering():
        assert forked(5) == 5


@pytest.mark.usefixtures("no_end")
def test_what_needs_no_fork_of_python_waits_for_nobody() -> None:
    with answering():
        # It begins another program at once: nothing of this one's memory is used there.
        assert subprocess.run([sys.executable, "-c", ""], check=False).returncode == 0


OUTLIVING = """
import threading, time
from warehouse.core.process import Threads
pool, other = Threads(1), Threads(1)
def work():
    done = 0
    for _ in range(100):
        done += pool.submit(int, "1").result()
        time.sleep(0.005)
    print(done)
pool.submit(int, "1").result()
# Python waits for it as the program ends, when the pool beside is shut already.
other.submit(time.sleep, 0.3)
threading.Thread(target=work).start()
"""


def test_a_thread_that_outlives_the_main_one_goes_on_with_its_pool() -> None:
    """As a stream does, which ended with an error of Python's."""
    done = subprocess.run(
        [sys.executable, "-c", OUTLIVING], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("100\n", "")
