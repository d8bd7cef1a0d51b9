"""One child process: started, waited for, looked after, stopped."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import LabError

Probe = Callable[[], Awaitable[bool]]
OnChange = Callable[[str, str], None]

PROBE_PAUSE_SECONDS = 0.02
PROBE_TIMEOUT_SECONDS = 2.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
STEADY_SECONDS = 10.0
TAIL_BYTES = 4096
SERVER_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


@dataclass(frozen=True)
class Plan:
    """What to run, how to tell that it serves, and what a person does when it does not.

    `mend` is a command; it ends the sentence of every error about this part. With `keep` the part is
    started again whenever it dies unasked. `launcher` is put before `argv` (for example to change the user).
    """

    name: str
    argv: Sequence[str]
    directory: Path
    ready: Probe
    mend: str
    environment: Mapping[str, str] | None = None
    launcher: Sequence[str] = ()
    ready_seconds: float = 10.0
    stop_seconds: float = 10.0
    keep: bool = False

    @property
    def log(self) -> Path:
        """The file that takes the child's output; appended to, never rotated."""
        return self.directory / f"{self.name}.log"


@dataclass
class _Life:
    """One run of the child, from spawn to exit."""

    process: asyncio.subprocess.Process
    log_offset: int
    started_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())


class Part:
    """A child process that dies with us, restarts when told to keep, and stops by its own pid only.

    It leads a process group of its own, so that Ctrl-C in a terminal reaches us alone and we choose the
    order of stopping. The trap: the kernel ties "dies with us" to the *thread* that started the child, so
    run the event loop in a thread that lives as long as the lab does.
    """

    def __init__(self, plan: Plan, on_change: OnChange | None = None) -> None:
        self.plan = plan
        self._on_change = on_change
        self._life: _Life | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    @property
    def running(self) -> bool:
        """True while the child lives, ready or not."""
        return self._life is not None and self._life.process.returncode is None

    @property
    def pid(self) -> int | None:
        """The pid of the living child, else None."""
        return self._life.process.pid if self._life is not None and self.running else None

    async def start(self) -> None:
        """Return once the child answers its probe; a running child is left alone.

        Raises `lab.binary-missing`, `lab.part-exited` or `lab.part-not-ready`, and then nothing is left running.
        """
        async with self._turn:
            if self.running:
                return
            await self._forget_watcher()
            await self._begin()
            self._watcher = asyncio.create_task(self._look_after(), name=f"lab {self.plan.name}")

    async def kill(self) -> None:
        """The child and its own children are dead by SIGKILL: a fault, so a kept part comes back by itself."""
        if self._life is None or not self.running:
            return
        life = self._life
        self._signal_group(life, signal.SIGKILL)
        await life.process.wait()

    def send(self, number: signal.Signals) -> None:
        """Deliver one signal to the child alone (reload, freeze); nothing happens when it is not running."""
        if self._life is not None and self.running:
            self._life.process.send_signal(number)

    async def stop(self) -> None:
        """The child is gone and stays gone: SIGTERM, then SIGKILL after the plan's `stop_seconds`."""
        async with self._turn:
            try:
                await self._forget_watcher()
            finally:  # whatever the watcher met: the child must not stay behind
                await self._end()

    async def restart(self) -> None:
        """A new child answers its probe; the old one was stopped in order first."""
        await self.stop()
        await self.start()

    async def _begin(self) -> None:
        life = await self._spawn()
        self._life = life
        try:
            await self._await_probe(life, self.plan.ready, self.plan.ready_seconds)
        except BaseException:  # also on cancellation: a child nobody waits for must not stay behind
            await self._end()
            raise

    async def _spawn(self) -> _Life:
        plan = self.plan
        program = find_program(plan.argv[0])
        if program is None:
            raise LabError(
                "lab.binary-missing",
                f"{plan.name} needs the program {plan.argv[0]}, which is not here; run `{plan.mend}`.",
            )
        plan.directory.mkdir(parents=True, exist_ok=True)
        # After the launcher: the kernel forgets the wish whenever the user changes.
        argv = (*plan.launcher, "setpriv", "--pdeathsig", "TERM", program, *plan.argv[1:])
        with plan.log.open("ab") as log:
            offset = log.tell()
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=None if plan.environment is None else dict(plan.environment),
                start_new_session=True,
            )
        return _Life(process, offset)

    async def _await_probe(self, life: _Life, probe: Probe, deadline_seconds: float) -> None:
        name, mend = self.plan.name, self.plan.mend
        try:
            async with asyncio.timeout(deadline_seconds):
                while not await _asked(probe):
                    if life.process.returncode is not None:
                        break
                    await asyncio.sleep(PROBE_PAUSE_SECONDS)
        except TimeoutError as error:
            raise LabError(
                "lab.part-not-ready",
                f"{name} did not answer within {deadline_seconds:g} s; its log is {self.plan.log}"
                f"{_quoted(_last_line(self.plan.log, life.log_offset))}; run `{mend}`.",
            ) from error
        if life.process.returncode is not None:
            raise LabError(
                "lab.part-exited",
                f"{name} ended at its start ({_how(life.process.returncode)}); its log is {self.plan.log}"
                f"{_quoted(_last_line(self.plan.log, life.log_offset))}; run `{mend}`.",
            )

    async def _look_after(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        loop = asyncio.get_running_loop()
        watched: _Life | None = None
        while self._life is not None:
            life = self._life
            code = await life.process.wait()
            if life is not watched and loop.time() - life.started_at > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            watched = life  # the same again when nothing could be started: the pause goes on growing
            if not self.plan.keep:
                self._tell(f"ended ({_how(code)}) and is not kept")
                return
            self._tell(f"ended ({_how(code)}); starting again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            try:
                await self._begin()
            except LabError as error:
                self._tell(str(error))
            except (
                OSError
            ) as error:  # no process, no file handle, no room: it passes, and so it is tried again
                self._tell(f"could not be started: {error}; run `{self.plan.mend}` if it stays so")
            else:
                self._tell("serves again")

    async def _forget_watcher(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher

    async def _end(self) -> None:
        life = self._life
        if life is None or life.process.returncode is not None:
            return
        life.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(life.process.wait(), self.plan.stop_seconds)
        except TimeoutError:
            self._tell(f"did not stop within {self.plan.stop_seconds:g} s; killed")
        finally:  # also when we are cancelled while waiting; and its own children must not outlive it
            self._signal_group(life, signal.SIGKILL)
        await life.process.wait()

    def _signal_group(self, life: _Life, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(life.process.pid, number)

    def _tell(self, text: str) -> None:
        if self._on_change is not None:
            self._on_change(self.plan.name, text)


def find_program(name: str) -> str | None:
    """The full path of a program, else None; also looks where servers live, which a user's PATH leaves out."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *SERVER_FOLDERS)))


async def _asked(probe: Probe) -> bool:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):  # `wait_for` of Python 3.11 can lose a cancel
            return await probe()
    except (OSError, TimeoutError):  # not listening yet, or not answering yet: both mean "not ready"
        return False


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _quoted(line: str) -> str:
    return f', which ends with "{line}"' if line else ""


def _last_line(log: Path, offset: int) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(offset, size - TAIL_BYTES))
        lines = stream.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
