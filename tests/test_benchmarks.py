"""The benchmarks can be run: what one of them takes from another is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from building import REPOSITORY

SCRIPTS = sorted((REPOSITORY / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_benchmark_finds_all_that_it_imports(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {script.stem}"],
        cwd=script.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
