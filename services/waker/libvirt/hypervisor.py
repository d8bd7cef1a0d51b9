"""The hypervisor by way of libvirt: blocking calls in threads, events from libvirt's own loop in one more.

Calls on one domain are made one after the other, and the next one not before the last has ended, even when nobody
waits for its answer any more. So an answered call is a barrier for all that was asked before, over one connection;
after a new connection it is libvirt's job lock on the domain that keeps the order.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, TypeVar

import libvirt

from schemas.house import HostPlace
from schemas.template import has_disk
from services.waker.libvirt.session import Ears, Session
from services.waker.libvirt.threads import Threads
from services.waker.port import (
    CALL_SECONDS,
    SAVE_SECONDS,
    Defined,
    Definition,
    Domain,
    DomainState,
    HostReport,
    HypervisorError,
    Life,
    Unknown,
    domain_name,
)

T = TypeVar("T")

log = logging.getLogger("virtscale.waker")

_CONNECTING: Final = ""  # the chain of the calls that make a connection
_NOT_VALID: Final = frozenset(
    {
        libvirt.VIR_ERR_XML_ERROR,
        libvirt.VIR_ERR_XML_DETAIL,
        libvirt.VIR_ERR_XML_INVALID_SCHEMA,
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    }
)
"""Answers to a definition that no repetition changes."""


class Libvirt:
    """One host through one libvirt connection; `services.waker.port.Hypervisor` says what each call promises."""

    def __init__(self, place: HostPlace, templates: Path) -> None:
        self._place = place
        self._templates = templates
        self._threads = Threads(f"libvirt-{place.name}")
        self._session: Session | None = None
        self._last: dict[str, Future[Any]] = {}
        self._changed: Callable[[str, DomainState, str], None] = lambda _name, _state, _detail: None

    def watch(self, changed: Callable[[str, DomainState, str], None]) -> None:
        """Changes are told to `changed`, in the event loop."""
        self._changed = changed

    async def connect(self) -> HostReport:
        """There is a connection; after a lost one events are asked for anew, for libvirt forgets who listened."""
        session = self._session
        if session is not None and session.alive():
            return session.report
        self._session = None
        loop = asyncio.get_running_loop()

        def changed(session: Session, name: str, state: DomainState, detail: str) -> None:
            _soon(loop, lambda: self._tell(session, name, state, detail))

        def closed(session: Session) -> None:
            _soon(loop, lambda: self._lost(session))

        if session is not None:
            await self._call("disconnect", session.close, chain=_CONNECTING)
        self._session = await self._call(
            "connect", lambda: Session(self._place, self._templates, Ears(changed, closed)), chain=_CONNECTING
        )
        return self._session.report

    async def close(self) -> None:
        """The connection is closed; domains stay as they are."""
        session, self._session = self._session, None
        if session is not None:
            await self._call("disconnect", session.close, chain=_CONNECTING)

    async def domains(self) -> list[Domain | Unknown]:
        """All of our domains, with how they are built, also those whose mark cannot be read."""
        session = self._need()
        return await self._call("list the domains", lambda: session.domains(closely=True))

    async def state(self, name: str) -> DomainState:
        """The domain's state, without waiting for calls under way."""
        session = self._need()
        return await self._call(f"look at {name}", lambda: session.state(name))

    def has_disk(self, template: str) -> bool:
        """Whether the template has a place for a disk; read anew each time, since somebody may change it."""
        return has_disk(self._templates / template)

    async def define(self, definition: Definition) -> Defined:
        """The domain exists, with its port."""
        session, name = self._need(), domain_name(definition.org, definition.vm)
        return await self._call(f"define {name}", lambda: session.define(definition), chain=name)

    async def nodeless(self, name: str, memory_mib: int) -> str | None:
        """Why a pinned domain would fit no node."""
        session = self._need()
        return await self._call(f"look at {name}", lambda: session.nodeless(name, memory_mib), chain=name)

    async def start(self, name: str, within_seconds: float | None = None) -> None:
        """The domain is booted, or goes on where it was saved."""
        session = self._need()
        await self._call(f"start {name}", lambda: session.start(name), chain=name, seconds=within_seconds)

    async def resume(self, name: str) -> None:
        """The domain runs."""
        session = self._need()
        await self._call(f"resume {name}", lambda: session.resume(name), chain=name)

    async def suspend(self, name: str) -> None:
        """The domain is paused, and all that was asked of it before has taken effect."""
        session = self._need()
        await self._call(f"suspend {name}", lambda: session.suspend(name), chain=name)

    async def save(self, name: str) -> int:
        """The paused domain is saved, and all that was asked of it before has taken effect; its image's bytes."""
        session = self._need()
        return await self._call(f"save {name}", lambda: session.save(name), chain=name, seconds=SAVE_SECONDS)

    async def refresh(self, name: str) -> int:
        """The guest's clock is set and its entropy is fresh; so many bytes of it."""
        session = self._need()
        return await self._call(f"refresh {name}", lambda: session.refresh(name), chain=name)

    async def kills(self, name: str) -> int:
        """What the guest's kernel killed for want of memory, as its agent says."""
        session = self._need()
        return await self._call(f"ask the agent of {name}", lambda: session.kills(name))

    async def life(self, name: str) -> Life | None:
        """What the domain that runs was started as."""
        session = self._need()
        return await self._call(f"look at {name}", lambda: session.life(name), chain=name)

    async def shutdown(self, name: str) -> None:
        """The guest was asked to shut down."""
        session = self._need()
        await self._call(f"shut down {name}", lambda: session.shutdown(name), chain=name)

    async def plug(self, name: str, vcpu: int) -> None:
        """The domain has at least so many vCPU."""
        session = self._need()
        await self._call(f"plug vCPU into {name}", lambda: session.plug(name, vcpu), chain=name)

    async def stop(self, name: str) -> None:
        """The domain is off or gone, and all that was asked of it before has taken effect."""
        session = self._need()
        await self._call(f"stop {name}", lambda: session.stop(name), chain=name)

    async def undefine(self, name: str) -> None:
        """The domain is gone, and all that was asked of it before has taken effect."""
        session = self._need()
        await self._call(f"undefine {name}", lambda: session.undefine(name), chain=name)

    async def retire(self, domain: str, uuid: str) -> DomainState:
        """A domain of somebody else's is gone where it was off."""
        session = self._need()
        return await self._call(f"undefine {domain}", lambda: session.retire(domain, uuid), chain=domain)

    def _need(self) -> Session:
        if self._session is None or not self._session.open:
            raise HypervisorError(f"There is no connection to {self._place.uri}.", lost=True)
        return self._session

    async def _call(
        self, what: str, call: Callable[[], T], *, chain: str | None = None, seconds: float | None = None
    ) -> T:
        """The answer of a blocking call; calls of one chain never overlap."""
        session, seconds = self._session, CALL_SECONDS if seconds is None else seconds
        try:
            async with asyncio.timeout(seconds):
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
                f"libvirt at {self._place.uri} did not answer within {seconds:g} s when asked to {what}.",
                silent=True,
            ) from None
        except libvirt.libvirtError as error:
            raise HypervisorError(
                f"libvirt at {self._place.uri} refused to {what}: {error.get_error_message() or error}.",
                lost=chain == _CONNECTING or session is None or not session.alive(),
                final=what.startswith("define") and error.get_error_code() in _NOT_VALID,
            ) from error
        except HypervisorError:
            raise
        except Exception as error:  # a call is about one domain, and what its metadata, its template or its guest say is not ours:
            # whatever goes wrong with it is this call's error, and none of the host's other VMs'
            log.exception(
                "libvirt at %s was asked to %s, and an error came that nobody foresaw", self._place.uri, what
            )
            raise HypervisorError(
                f"libvirt at {self._place.uri} was asked to {what}, and this went wrong: {type(error).__name__}: {error}."
            ) from error

    def _tell(self, session: Session, name: str, state: DomainState, detail: str) -> None:
        if session is self._session:
            self._changed(name, state, detail)

    def _lost(self, session: Session) -> None:
        if session is self._session:
            self._changed("", "missing", "closed")


async def _ended(last: Future[Any]) -> None:
    """Somebody else's call has ended, however; the one who made it was told, or does not want to know."""
    ended = asyncio.wrap_future(last)
    await asyncio.wait([ended])
    if not ended.cancelled():
        ended.exception()


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """`call` runs in the event loop, soon."""
    if not loop.is_closed():  # an event that comes after the loop's end is nobody's concern
        loop.call_soon_threadsafe(call)
