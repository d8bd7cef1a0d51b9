"""Guests die with us, however we die: a small shell waits at a pipe whose other end only we hold."""

from __future__ import annotations

import asyncio
from pathlib import Path

from lab.errors import LabError

STOP_SECONDS = 5.0
# $1 is the folder of pid files, $2 what a guest's command line must name: a pid may have been given to another.
SCRIPT = """\
cat > /dev/null
for file in "$1"/*.pid; do
  read -r pid < "$file" || [ -n "$pid" ] || continue
  tr '\\0' ' ' < "/proc/$pid/cmdline" | grep -qF -- "$2" && kill -KILL "$pid"
done
"""


class Reaper:
    """Kills what the pid files in `pid_files` name as soon as this process is gone.

    Needed because libvirt detaches QEMU from everything, so that no signal of ours and no death of ours
    reaches it. A guest is recognised by `mark` in its command line.
    """

    def __init__(self, pid_files: Path, mark: str, launcher: tuple[str, ...]) -> None:
        self._argv = (*launcher, "sh", "-c", SCRIPT, "reaper", str(pid_files), mark)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """From now on the guests do not survive us."""
        if self._process is not None and self._process.returncode is None:
            return
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise LabError(
                "lab.binary-missing",
                "Guests are watched by sh and setpriv; run `apt-get install -y util-linux dash`.",
            ) from error

    async def strike(self) -> None:
        """The guests are dead now, without libvirtd's help (it may be dead itself)."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
