"""HAProxy over its runtime socket (2.6 and later) and its configuration file.

One connection per line of commands (0.05 to 0.1 ms, measured): a kept connection would be quicker still, but after
a reload it would go on talking to the old worker, which no longer serves.
"""

import asyncio
import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from services.announcer.config import mark, render, write
from services.announcer.port import BalancerError, Server, ServerState

_TIMEOUT_SECONDS: Final = 2.0
_MOST_AT_ONCE: Final = 8
"""Below HAProxy's own default of ten connections to its socket."""
_MOST_BYTES: Final = 64 * 2**20
_DONE: Final = ""
_MISSING: Final = "No such server."
_WORD: Final = re.compile(r"[a-z0-9_-]{1,100}")
_ADDRESS: Final = re.compile(r"([0-9A-Za-z.-]{1,200}|\[[0-9a-fA-F:.]{2,45}\]):([0-9]{1,5})")


class Haproxy:
    """One HAProxy; `socket` is its runtime socket, `config` the file it reads, `own` the installation's part."""

    def __init__(self, socket: Path, config: Path, own: Path) -> None:
        self._socket = socket
        self._config = config
        self._own = own
        self._turn = asyncio.Semaphore(_MOST_AT_ONCE)

    async def servers(self) -> Mapping[tuple[str, str], Server]:
        """Every server of every backend, with the sessions it has and those that queue for it."""
        return read_servers(await self._ask("show stat -1 4 -1"))

    async def add(self, backend: str, name: str, address: str) -> None:
        """The server exists at this address, in maintenance; safe to repeat."""
        place, host, port = _place(backend, name), *_split(address)
        said = await self._ask(f"add server {place} {address}")
        if said == "New server registered.":
            return
        if not said.startswith("Already exists"):
            raise BalancerError(f"HAProxy did not add {place} at {address}: {said}", refused=True)
        said = await self._ask(
            f"set server {place} state maint;set server {place} addr {host.strip('[]')} port {port}"
        )
        if "no need to change" not in said and "changed from" not in said:
            raise BalancerError(f"HAProxy did not move {place} to {address}: {said}", refused=True)

    async def set_state(self, backend: str, name: str, state: ServerState) -> None:
        """The server is in this state; safe to repeat. One that does not exist is an error that `add` mends."""
        place = _place(backend, name)
        said = await self._ask(f"set server {place} state {state}")
        if said != _DONE:
            raise BalancerError(
                f"HAProxy did not set {place} to {state}: {said}", refused=not said.startswith(_MISSING)
            )

    async def cut(self, backend: str, name: str) -> int:
        """Sessions that were open are closed, and how many they were; safe to repeat, then there are none."""
        place = _place(backend, name)
        said = await self._ask(f"show stat {backend} 4 -1;shutdown sessions server {place}")
        found = read_servers(said).get((backend, name))
        return found.sessions if found is not None else 0

    async def remove(self, backend: str, name: str) -> bool:
        """The server is gone; False while connections are attached, kept-alive ones too. Safe to repeat."""
        place = _place(backend, name)
        said = await self._ask(f"del server {place}")
        if said == "Server deleted." or said.startswith(_MISSING):
            return True
        if "connections attached" in said:
            return False
        raise BalancerError(f"HAProxy did not delete {place}: {said}", refused=True)

    async def keep(self, servers: Mapping[str, Mapping[str, str]]) -> None:
        """The configuration file lists these serving VMs; what runs does not change."""
        for backend, listed in servers.items():
            for name, address in listed.items():
                _place(backend, name)
                _split(address)
        homeless = await asyncio.to_thread(self._keep, servers)
        if homeless:
            raise BalancerError(
                f"{self._own} has no backend {homeless[0]}, so what serves there ({len(homeless)} backends in all) "
                f"is lost in a reload. Write it with the line `{mark(homeless[0])}`.",
                refused=True,
            )

    def _keep(self, servers: Mapping[str, Mapping[str, str]]) -> list[str]:
        try:
            text, homeless = render(self._own.read_text(), servers)
            write(self._config, text)
        except OSError as error:
            raise BalancerError(f"HAProxy's configuration {self._config} was not kept: {error}.") from error
        return homeless

    async def _ask(self, line: str) -> str:
        """The answer to one line of commands, without its blank ends.

        Even the answer to a silent command ends with a newline; a connection that ends without one was cut, and
        nobody knows what HAProxy did.
        """
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS), self._turn:
                reader, writer = await asyncio.open_unix_connection(self._socket, limit=2**20)
                try:
                    writer.write(f"{line}\n".encode())
                    said = await _read_all(reader)
                finally:
                    writer.close()
        except TimeoutError as error:
            raise BalancerError(
                f"HAProxy did not answer on {self._socket} within {_TIMEOUT_SECONDS:g} s."
            ) from error
        except OSError as error:
            raise BalancerError(f"HAProxy does not answer on {self._socket}: {error}.") from error
        if not said.endswith(b"\n"):
            raise BalancerError(f"HAProxy ended the connection on {self._socket} before it had answered.")
        return said.decode(errors="replace").strip()


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await reader.read(2**18):
        parts.append(part)
        size += len(part)
        if size > _MOST_BYTES:
            raise BalancerError(f"HAProxy's answer is longer than {_MOST_BYTES} bytes.", refused=True)
    return b"".join(parts)


def read_servers(said: str) -> dict[tuple[str, str], Server]:
    """The servers in an answer to `show stat`."""
    if not said.startswith("# "):
        raise BalancerError(f"HAProxy did not say what it has: {said[:200]}", refused=True)
    rows = csv.DictReader(said.removeprefix("# ").splitlines())
    return {
        (row["pxname"], row["svname"]): Server(
            backend=row["pxname"],
            name=row["svname"],
            address=row["addr"],
            state=_state(row["status"]),
            sessions=int(row["scur"] or 0) + int(row["qcur"] or 0),
        )
        for row in rows
        if row.get("addr")
    }


def _state(status: str) -> ServerState:
    if status.startswith("MAINT"):
        return "maint"
    return "drain" if status.startswith("DRAIN") else "ready"


def _place(backend: str, name: str) -> str:
    """The server's name in a command; one that could end or widen the command is refused."""
    for word in (backend, name):
        if _WORD.fullmatch(word) is None:
            raise BalancerError(f"{word!r} cannot be a name in HAProxy; nothing was sent.", refused=True)
    return f"{backend}/{name}"


def _split(address: str) -> tuple[str, str]:
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise BalancerError(
            f"{address!r} is not an address of the form host:port; nothing was sent.", refused=True
        )
    return found[1], found[2]
