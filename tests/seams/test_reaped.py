"""The program that the tests are run through: what they leave behind is reaped at once, and it ends as they do."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.seams.crew import ROOT

REAPED = (sys.executable, str(ROOT / "tools" / "reaped"))
ORPHAN = """\
sh -c 'sleep 20 >&- & echo $!' > {file}
read -r pid < {file}
read -r _ _ _ parent _ < /proc/$pid/stat
[ "$parent" -eq $PPID ] || exit 2
kill $pid
for _ in $(seq 200); do [ -e /proc/$pid ] || exit 0; sleep 0.005; done
exit 1
"""


def test_an_orphan_that_ended_is_no_zombie(tmp_path: Path) -> None:
    script = ORPHAN.format(file=tmp_path / "pid")
    subprocess.run([*REAPED, "bash", "-c", script], check=True, timeout=20)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 128 + 9)])
def test_the_program_ends_as_its_command_does(script: str, code: int) -> None:
    assert subprocess.run([*REAPED, "sh", "-c", script], check=False, timeout=20).returncode == code
