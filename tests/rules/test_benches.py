"""Each benchmark can be started as `make bench-NAME` starts it, whatever its file is called."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in ROOT.glob("bench/*.py") if "add_argument" in path.read_text("utf-8"))


def test_there_are_benchmarks() -> None:
    assert {"activation", "gate", "start"} <= set(NAMES)


@pytest.mark.parametrize("name", [*NAMES, "replay"])
def test_a_benchmark_finds_what_it_measures(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", "--help"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
