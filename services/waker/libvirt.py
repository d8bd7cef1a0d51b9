"""The hypervisor by way of libvirt: blocking calls in threads, events from libvirt's own loop in one more.

Calls on one domain are made one after the other, and the next one not before the last has ended, even when nobody
waits for its answer any more. So an answered call is a barrier for all that was asked before, over one connection;
after a new connection it is libvirt's job lock on the domain that keeps the order.
"""

import asyncio
import functools
import html
import os
import socket
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import libvirt
import msgspec

from schemas.capacity import Size
from schemas.house import HostPlace
from services.waker.port import (
    Defined,
    Definition,
    Domain,
    DomainState,
    HostReport,
    HypervisorError,
    domain_name,
)
from services.waker.templates import fill
from services.waker.threads import Threads

T = TypeVar("T")

CALL_SECONDS: Final = 20.0
"""How long an answer is waited for; the call may end later."""

KEEPALIVE: Final = (5, 3)
"""Seconds between signs of life, and how many may fail: a silent libvirtd is given up after 20 s."""

LOOPBACK: Final = "127.0.0.1"
MOST_PORTS: Final = 4096

_NAMESPACE: Final = "urn:virtscale:domain:1"
_UUIDS: Final = uuid.UUID("5d0f3d2a-8f4e-5b0c-9c0e-6a1f1d7e2c11")
_TEST: Final = "test:"
_NO_DOMAIN: Final = libvirt.VIR_ERR_NO_DOMAIN
_NOT_VALID: Final = frozenset(
    {
        libvirt.VIR_ERR_XML_ERROR,
        libvirt.VIR_ERR_XML_DETAIL,
        libvirt.VIR_ERR_XML_INVALID_SCHEMA,
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_UNKNOWN_HOST,
    }
)
"""Answers to a definition that no repetition changes."""

_WRONG_STATE: Final = frozenset({libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_INTERNAL_ERROR})
"""How QEMU's driver (55) and the test driver (1) say that a domain is in that state already, or cannot be."""

# A domain of which libvirt has no state, or that is shutting down, has not stopped yet: unknown counts as awake.
_STATES: Final[dict[int, DomainState]] = {
    libvirt.VIR_DOMAIN_NOSTATE: "running",
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "running",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_SHUTDOWN: "running",
    libvirt.VIR_DOMAIN_SHUTOFF: "off",
    libvirt.VIR_DOMAIN_CRASHED: "off",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "paused",
}
_EVENTS: Final[dict[int, tuple[DomainState, str]]] = {
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: ("missing", "undefined"),
    libvirt.VIR_DOMAIN_EVENT_STARTED: ("running", "started"),
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: ("paused", "paused"),
    libvirt.VIR_DOMAIN_EVENT_RESUMED: ("running", "resumed"),
    libvirt.VIR_DOMAIN_EVENT_STOPPED: ("off", "stopped"),
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: ("paused", "suspended-to-ram"),
    libvirt.VIR_DOMAIN_EVENT_CRASHED: ("off", "crashed"),
}
_STOPS: Final = {
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: "shutdown",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: "destroyed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: "failed",
}


class _Mark(msgspec.Struct, frozen=True):
    """What a domain's metadata says of it: whose it is, and the port that its guest has."""

    org: str
    pool: str
    vm: str
    size: Size
    template: str
    port: int


@dataclass(eq=False)
class _Session:
    """One connection, and what is known through it."""

    connection: libvirt.virConnect
    report: HostReport
    loop: asyncio.AbstractEventLoop
    domains: dict[str, libvirt.virDomain] = field(default_factory=dict[str, libvirt.virDomain])
    marks: dict[str, _Mark] = field(default_factory=dict[str, _Mark])
    watching: int | None = None
    """libvirt's number for our ear."""
    open: bool = True


class Libvirt:
    """One host through one libvirt connection; see `services.waker.port.Hypervisor` for what each call promises."""

    def __init__(self, place: HostPlace, templates: Path) -> None:
        self._place = place
        self._templates = templates
        self._threads = Threads(f"libvirt-{place.name}")
        self._session: _Session | None = None
        self._last: dict[str, Future[Any]] = {}
        self._defining = threading.Lock()
        self._changed: Callable[[str, DomainState, str], None] = lambda _name, _state, _detail: None

    def watch(self, changed: Callable[[str, DomainState, str], None]) -> None:
        """Changes are told to `changed`, in the event loop."""
        self._changed = changed

    async def connect(self) -> HostReport:
        """There is a connection; a lost one is closed, and events are asked for anew, for libvirt forgets them."""
        session = self._session
        if session is not None and session.open and await self._call("ask", lambda: _alive(session)):
            return session.report
        self._session = None
        loop = asyncio.get_running_loop()
        self._session = await self._call("connect", lambda: self._open(session, loop), chain="")
        return self._session.report

    async def domains(self) -> list[Domain]:
        """All of our domains, in one round trip for their states; metadata is read once per domain and connection."""
        session = self._need()
        return await self._call("list the domains", lambda: self._list(session))

    async def state(self, name: str) -> DomainState:
        """The domain's state as libvirt knows it, without waiting for calls under way."""
        session = self._need()
        return await self._call(f"look at {name}", lambda: _state(session, name))

    async def define(self, definition: Definition) -> Defined:
        """The domain exists, with its port; one that is awake or paused stays exactly as it was."""
        session = self._need()
        name = domain_name(definition.org, definition.vm)
        return await self._call(f"define {name}", lambda: self._define(session, name, definition), chain=name)

    async def start(self, name: str) -> None:
        """The domain is booted."""
        session = self._need()
        await self._call(
            f"start {name}", lambda: _on(session, name, lambda domain: domain.create()), chain=name
        )

    async def resume(self, name: str) -> None:
        """The domain runs: one round trip when it was paused."""
        session = self._need()
        await self._call(f"resume {name}", lambda: _resume(session, name), chain=name)

    async def suspend(self, name: str) -> None:
        """The domain is paused, and all that was asked of it before has taken effect."""
        session = self._need()
        await self._call(f"suspend {name}", lambda: _suspend(session, name), chain=name)

    async def stop(self, name: str) -> None:
        """The domain is off or gone, and all that was asked of it before has taken effect."""
        session = self._need()
        await self._call(f"stop {name}", lambda: _stop(session, name), chain=name)

    async def close(self) -> None:
        """The connection is closed; domains stay as they are."""
        session, self._session = self._session, None
        if session is not None:
            await self._call("disconnect", lambda: _close(session))

    # ------------------------------------------------------------------------------------------ calls, in the loop

    def _need(self) -> _Session:
        if self._session is None or not self._session.open:
            raise HypervisorError(f"There is no connection to {self._place.uri}.", lost=True)
        return self._session

    async def _call(self, what: str, call: Callable[[], T], *, chain: str | None = None) -> T:
        """The answer of a blocking call; calls of one chain never overlap."""
        session = self._session
        try:
            async with asyncio.timeout(CALL_SECONDS):
                while chain is not None and (last := self._last.get(chain)) is not None and not last.done():
                    await _ended(last)
                future = self._threads.submit(call)
                if future is None:
                    raise HypervisorError(f"Too many calls wait for libvirt; {what} was not made.")
                if chain is not None:
                    self._last[chain] = future
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise HypervisorError(
                f"libvirt at {self._place.uri} did not answer within {CALL_SECONDS:g} s when asked to {what}."
            ) from None
        except libvirt.libvirtError as error:
            lost = chain == "" or session is None or not session.open or not _alive(session)
            final = what.startswith("define") and error.get_error_code() in _NOT_VALID
            raise HypervisorError(
                f"libvirt at {self._place.uri} refused to {what}: {error.get_error_message() or error}.",
                lost=lost,
                final=final,
            ) from error

    def _tell(self, session: _Session, name: str, state: DomainState, detail: str) -> None:
        if session is self._session:
            self._changed(name, state, detail)

    def _lost(self, session: _Session) -> None:
        if session is self._session:
            self._changed("", "missing", "closed")

    # ----------------------------------------------------------------------------------------- work, in the threads

    def _open(self, former: _Session | None, loop: asyncio.AbstractEventLoop) -> _Session:
        _event_loop()
        if former is not None:
            _close(former)
        connection = libvirt.open(self._place.uri)
        report = HostReport(connection.getLibVersion(), int(connection.getInfo()[2]))
        session = _Session(connection, report, loop)
        if not self._place.uri.startswith(_TEST):
            connection.setKeepAlive(*KEEPALIVE)
            connection.registerCloseCallback(self._on_close, session)
        register = cast("Callable[..., int]", connection.domainEventRegisterAny)
        session.watching = register(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle, session)
        return session

    def _on_close(self, _connection: libvirt.virConnect, _reason: int, session: _Session) -> None:
        session.open = False
        _soon(session, self._lost, session)

    def _on_lifecycle(
        self,
        _connection: libvirt.virConnect,
        domain: libvirt.virDomain,
        event: int,
        detail: int,
        session: _Session,
    ) -> None:
        meant = _EVENTS.get(event)
        if meant is not None:
            state, word = meant
            if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
                word = _STOPS.get(detail, word)
            _soon(session, self._tell, session, domain.name(), state, word)

    def _list(self, session: _Session) -> list[Domain]:
        listed: list[Domain] = []
        for domain, stats in session.connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE):
            name = domain.name()
            mark = session.marks.get(name) or _read_mark(domain)
            if mark is None:
                continue
            session.marks[name] = mark
            session.domains[name] = domain
            state = _STATES[stats["state.state"]]
            listed.append(Domain(name, mark.org, mark.pool, mark.vm, mark.size, state))
        return listed

    def _define(self, session: _Session, name: str, definition: Definition) -> Defined:
        with self._defining:
            self._list(session)
            mark = session.marks.get(name)
            if mark is not None and _state(session, name) in {"running", "paused"}:
                return _defined(name, mark.port)
            port = mark.port if mark is not None else self._free_port(session)
            mark = _Mark(
                definition.org, definition.pool, definition.vm, definition.size, definition.template, port
            )
            values = {
                "name": name,
                "uuid": uuid.uuid5(_UUIDS, name),
                "vcpu": definition.size.vcpu,
                "memory_mib": definition.size.memory_mib,
                "port": port,
            }
            xml = fill(self._templates, definition.template, values, _mark_xml(mark))
            session.domains[name] = session.connection.defineXML(xml)
            session.marks[name] = mark
            return _defined(name, port)

    def _free_port(self, session: _Session) -> int:
        """The lowest port that no domain of ours has and nobody listens on."""
        first = self._place.first_port
        taken = {mark.port for mark in session.marks.values()}
        for port in range(first, min(first + MOST_PORTS, 65_536)):
            if port not in taken and _can_bind(port):
                return port
        raise HypervisorError(
            f"Host {self._place.name} has no free port from {first} on for another guest.", final=True
        )


async def _ended(last: Future[Any]) -> None:
    """Somebody else's call has ended, however; the one who made it was told, or does not want to know."""
    ended = asyncio.wrap_future(last)
    await asyncio.wait([ended])
    if not ended.cancelled():
        ended.exception()


def _on(session: _Session, name: str, call: Callable[[libvirt.virDomain], T]) -> T:
    """The answer of a call on the domain; its handle is kept, so that the usual call is one round trip."""
    domain = session.domains.get(name)
    if domain is not None:
        try:
            return call(domain)
        except libvirt.libvirtError as error:
            if error.get_error_code() != _NO_DOMAIN:
                raise
            session.domains.pop(name, None)
            session.marks.pop(name, None)
    domain = session.domains[name] = session.connection.lookupByName(name)
    return call(domain)


def _state_number(domain: libvirt.virDomain) -> int:
    return int(domain.state()[0])


def _state(session: _Session, name: str) -> DomainState:
    try:
        return _STATES[_on(session, name, _state_number)]
    except libvirt.libvirtError as error:
        if error.get_error_code() != _NO_DOMAIN:
            raise
        return "missing"


def _resume(session: _Session, name: str) -> None:
    try:
        _on(session, name, lambda domain: domain.resume())
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _WRONG_STATE:
            raise
        state = _on(session, name, _state_number)
        if state == libvirt.VIR_DOMAIN_PMSUSPENDED:
            _on(session, name, lambda domain: domain.pMWakeup())
        elif _STATES[state] != "running":
            raise


def _suspend(session: _Session, name: str) -> None:
    try:
        _on(session, name, lambda domain: domain.suspend())
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _WRONG_STATE or _state(session, name) != "paused":
            raise


def _stop(session: _Session, name: str) -> None:
    try:
        _on(session, name, lambda domain: domain.destroy())
    except libvirt.libvirtError as error:
        if error.get_error_code() not in {*_WRONG_STATE, _NO_DOMAIN}:
            raise
        if _state(session, name) not in {"off", "missing"}:
            raise


def _read_mark(domain: libvirt.virDomain) -> _Mark | None:
    """The mark in a domain's metadata; None when the domain is not ours."""
    try:
        element = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, _NAMESPACE)
    except libvirt.libvirtError as error:
        if error.get_error_code() in {libvirt.VIR_ERR_NO_DOMAIN_METADATA, _NO_DOMAIN}:
            return None
        raise
    text = element.partition(">")[2].rpartition("<")[0]
    try:
        return msgspec.json.decode(html.unescape(text), type=_Mark)
    except msgspec.DecodeError:  # somebody else's element under our name: not one of our domains
        return None


def _mark_xml(mark: _Mark) -> str:
    text = html.escape(msgspec.json.encode(mark).decode(), quote=False)
    return f"<vs:vm xmlns:vs='{_NAMESPACE}'>{text}</vs:vm>"


def _defined(name: str, port: int) -> Defined:
    return Defined(name, str(uuid.uuid5(_UUIDS, name)), f"{LOOPBACK}:{port}")


def _can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _alive(session: _Session) -> bool:
    try:
        return bool(session.connection.isAlive())
    except libvirt.libvirtError:
        return False


def _close(session: _Session) -> None:
    """Nothing comes from the session any more.

    libvirt keeps a connection as long as somebody listens on it, so the ears go first; a connection that was lost
    refuses each of these, and that is as good.
    """
    session.open = False
    session.domains.clear()
    connection, watching = session.connection, session.watching
    with suppress(libvirt.libvirtError):
        if watching is not None:
            connection.domainEventDeregisterAny(watching)
    with suppress(libvirt.libvirtError):
        connection.unregisterCloseCallback()
    with suppress(libvirt.libvirtError):
        connection.close()


def _soon(session: _Session, call: Callable[..., None], *arguments: object) -> None:
    """`call` runs in the event loop; an event that comes after the loop's end is nobody's concern."""
    try:
        session.loop.call_soon_threadsafe(call, *arguments)
    except RuntimeError:
        session.open = False


@functools.cache
def _event_loop() -> threading.Thread:
    """libvirt's event loop runs in a thread of its own: once per process, and before the first connection."""
    # A plain user's client would start a libvirtd of that user when ours is away, and wait for it in vain.
    os.environ.setdefault("LIBVIRT_AUTOSTART", "0")
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    libvirt.virEventRegisterDefaultImpl()
    thread = threading.Thread(target=_run_events, name="libvirt-events", daemon=True)
    thread.start()
    return thread


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
