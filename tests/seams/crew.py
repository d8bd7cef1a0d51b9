"""The workers of one house as processes of their own, started again when they die, as a service manager would."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lab.part import find_program

ROOT: Final = Path(__file__).resolve().parents[2]
MOST_SURPRISES: Final = 5
STOP_SECONDS: Final = 10.0
SHOWN_BYTES: Final = 4000


@dataclass(eq=False)
class Member:
    """One worker's place: the process that fills it now, and how the ones before it ended."""

    service: str
    arguments: tuple[str, ...]
    log: Path
    process: asyncio.subprocess.Process | None = None
    starts: int = 0
    codes: list[int] = field(default_factory=list)
    """Exit codes of the processes that ended; -9 is a SIGKILL."""
    doomed: set[int] = field(default_factory=set)
    """Processes that a test killed."""
    looker: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None


class Crew:
    """Workers by name. With `keep`, whoever dies is started again at once; who was not killed is remembered."""

    through: tuple[str, ...] = ()
    """A module that each worker is run through, for those who run another version of it."""

    def __init__(self, house: Path, *, keep: bool = True) -> None:
        self._house = house
        self._logs = house / "logs"
        self._keep = keep
        self._members: dict[str, Member] = {}
        self.surprises: list[str] = []
        """Workers that ended and that nobody had killed, with their last words."""

    async def start(self, service: str, *arguments: str, name: str = "") -> None:
        """`python -m services.SERVICE` runs, under a name of its own where there are two of it."""
        self._logs.mkdir(exist_ok=True)
        name = name or service
        member = Member(service, arguments, self._logs / f"{name}.log")
        assert name not in self._members, f"{name} is there already"
        self._members[name] = member
        await self._spawn(member)
        member.looker = asyncio.create_task(self._look_after(name, member), name=f"crew {name}")

    async def kill(self, name: str) -> None:
        """The worker's process is dead by SIGKILL."""
        member = self._members[name]
        assert member.process is not None
        member.doomed.add(member.process.pid)
        member.process.kill()
        await member.process.wait()

    def freeze(self, name: str) -> None:
        """The worker does nothing more until it is killed: what comes meanwhile finds it in the middle of its work."""
        process = self._members[name].process
        assert process is not None
        process.send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """A frozen worker goes on where it stood."""
        process = self._members[name].process
        assert process is not None
        process.send_signal(signal.SIGCONT)

    def pid(self, name: str) -> int:
        """The process that fills the worker's place now."""
        process = self._members[name].process
        assert process is not None
        return process.pid

    async def dismiss(self, name: str) -> None:
        """The worker has ended in order and does not come back."""
        await self._end(self._members.pop(name))

    async def stop(self) -> None:
        """All have ended; in order if they do so within 10 s."""
        members, self._members = list(self._members.values()), {}
        await asyncio.gather(*(self._end(member) for member in members))

    def alive(self, name: str) -> bool:
        return self._members[name].alive

    def names(self) -> Sequence[str]:
        return tuple(self._members)

    def codes(self, name: str) -> Sequence[int]:
        """How this worker's processes ended, the first one first."""
        return tuple(self._members[name].codes)

    def marks(self) -> dict[str, int]:
        """Where each log ends now."""
        return {name: _size(member.log) for name, member in self._members.items()}

    def said(self, name: str, since: int = 0) -> str:
        """What a worker wrote since a mark; the end of it, if it is long."""
        log = self._members[name].log
        if not log.exists():
            return ""
        with log.open("rb") as stream:
            stream.seek(max(since, _size(log) - SHOWN_BYTES))
            return stream.read().decode(errors="replace")

    def last_words(self) -> str:
        """The end of every worker's log, for a failure's message."""
        return "\n".join(f"--- {name}\n{self.said(name)}" for name in self.names())

    async def _spawn(self, member: Member) -> None:
        setpriv = find_program("setpriv")
        assert setpriv is not None
        with member.log.open("ab") as log:
            member.process = await asyncio.create_subprocess_exec(
                # Whoever kills the tests kills the workers.
                *(setpriv, "--pdeathsig", "KILL"),
                *(sys.executable, "-m", *self.through, f"services.{member.service}"),
                *("--house", str(self._house), *member.arguments),
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        member.starts += 1

    async def _look_after(self, name: str, member: Member) -> None:
        while True:
            assert member.process is not None
            process = member.process
            code = await process.wait()
            member.codes.append(code)
            if process.pid not in member.doomed:
                self.surprises.append(f"{name} ended with {code}: {self.said(name)[-600:]}")
            if not self._keep or len(self.surprises) > MOST_SURPRISES:
                return
            await self._spawn(member)

    async def _end(self, member: Member) -> None:
        if member.looker is not None:
            member.looker.cancel()
            await asyncio.gather(member.looker, return_exceptions=True)
        process = member.process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0
