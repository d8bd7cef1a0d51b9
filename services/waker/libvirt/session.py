"""One libvirt connection and what is known through it; every call here blocks and belongs into a thread."""

import logging
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar, cast

import libvirt
import msgspec

from schemas.house import HostPlace
from schemas.template import has_seed
from services.waker.libvirt import agent, ephemeral, gone, hearing, looking, marks, numa
from services.waker.libvirt.guest_ports import free_port
from services.waker.libvirt.images import disk_of
from services.waker.libvirt.layers import seed_of
from services.waker.libvirt.states import STATES, image_bytes, number, state_of
from services.waker.libvirt.templates import fill
from services.waker.port import (
    REBOOTED,
    Defined,
    Definition,
    DiskFullError,
    Domain,
    DomainState,
    HostReport,
    Life,
    Unknown,
    domain_name,
    owner,
)

T = TypeVar("T")

log = logging.getLogger("virtscale.waker")

KEEPALIVE: Final = (5, 3)
"""Seconds between signs of life, and how many may fail: a silent libvirtd is given up after 20 s."""

_UUIDS: Final = uuid.UUID("5d0f3d2a-8f4e-5b0c-9c0e-6a1f1d7e2c11")
_TEST: Final = "test:"
_NO_DOMAIN: Final = libvirt.VIR_ERR_NO_DOMAIN
_WRONG_STATE: Final = frozenset({libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_INTERNAL_ERROR})
"""How QEMU's driver (55) and the test driver (1) say that a domain is in that state already, or cannot be."""

_NO_ROOM: Final = "No space left on device"


@dataclass(frozen=True, slots=True)
class Ears:
    """Who is told of changes and of the end; both are called in libvirt's thread."""

    changed: Callable[["Session", str, DomainState, str], None]
    closed: Callable[["Session"], None]


class Session:
    """One connection, from its opening on.

    Handles and metadata are kept as long as it lasts, so that the usual call is one round trip: a handle is a
    uuid, and a domain of ours keeps its uuid for ever.
    """

    def __init__(self, place: HostPlace, templates: Path, ears: Ears) -> None:
        hearing.event_loop()
        self._place = place
        self._templates = templates
        self._ears = ears
        self._defining = threading.Lock()
        self._domains: dict[str, libvirt.virDomain] = {}
        self._marks: dict[str, marks.Mark] = {}
        self._unread: set[str] = set()
        """Domains of which it was said that their mark cannot be read."""
        self._connection = connection = libvirt.open(place.uri)
        self._pinning = numa.Pinning(place.name, connection)
        self.open = True
        self.report = HostReport(connection.getLibVersion(), int(connection.getInfo()[2]))
        if not place.uri.startswith(_TEST):
            connection.setKeepAlive(*KEEPALIVE)
            connection.registerCloseCallback(self._on_close, None)
        self._sweep()
        register = cast("Callable[..., int]", connection.domainEventRegisterAny)
        self._watching = (
            register(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle, None),
            register(None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._on_reboot, None),
        )

    def _sweep(self) -> None:
        """What a host that went down left of ephemeral disks is gone. It is none of the others' business where that fails."""
        found = self.domains()
        try:
            ephemeral.sweep(self._connection, found)
        except libvirt.libvirtError as error:
            log.warning("host %s: old ephemeral disks are not removed: %s", self._place.name, error)

    def alive(self) -> bool:
        """Whether calls can be answered; asks nobody."""
        try:
            return self.open and bool(self._connection.isAlive())
        except libvirt.libvirtError:
            return False

    def close(self) -> None:
        """Nothing comes from the session any more.

        libvirt keeps a connection as long as somebody listens on it, so the ears go first; a connection that was
        lost refuses each of these, and that is as good.
        """
        self.open = False
        for watching in self._watching:
            with suppress(libvirt.libvirtError):
                self._connection.domainEventDeregisterAny(watching)
        with suppress(libvirt.libvirtError):
            self._connection.unregisterCloseCallback()
        with suppress(libvirt.libvirtError):
            self._connection.close()

    def domains(self, *, closely: bool = False) -> list[Domain | Unknown]:
        """All of our domains: two round trips for their states, and one for each that was not known; `closely` with how each is built.

        One whose mark cannot be read is in the list, since it may run; it is looked at anew each time, for somebody may mend it.
        """
        listed: list[Domain | Unknown] = []
        for domain, state, stats in looking.statistics(self._connection, closely=closely):
            name = domain.name()
            try:
                mark = self._marks.get(name) or marks.read(domain)
            except msgspec.DecodeError as error:
                self._tell_once(name, error)
                listed.append(Unknown(name, state))
                continue
            self._unread.discard(name)
            if mark is not None:
                self._marks[name] = mark
                self._domains[name] = domain
                build = looking.build(domain, stats, state, mark) if closely else None
                listed.append(Domain(name, mark.org, mark.pool, mark.vm, mark.size, state, build))
        return listed

    def _tell_once(self, name: str, error: msgspec.DecodeError) -> None:
        if name not in self._unread:
            self._unread.add(name)
            log.error(
                "domain %s bears our mark and it cannot be read, so what runs there counts nowhere; remove the domain, or put its "
                "metadata back: %s",
                name,
                error,
            )

    def state(self, name: str) -> DomainState:
        """The domain's state as libvirt knows it, without waiting for jobs on it."""
        try:
            return self._on(name, state_of)
        except libvirt.libvirtError as error:
            if error.get_error_code() != _NO_DOMAIN:
                raise
            return "missing"

    def define(self, definition: Definition) -> Defined:
        """The domain exists, with its port; one that is awake or asleep stays exactly as it was."""
        name = domain_name(definition.org, definition.vm)
        with self._defining:
            listed = self.domains()
            mark = self._marks.get(name)
            if mark is not None and self.state(name) in {"running", "paused", "saved"}:
                return self._defined(name, mark.port)
            ports = {known.port for known in self._marks.values()}
            port = mark.port if mark is not None else free_port(self._place, ports)
            memory_mib = definition.size.memory_mib
            node = self._pinning.node(name, memory_mib, listed, self._marks) if definition.pinned else None
            mark = marks.Mark(
                definition.org,
                definition.pool,
                definition.vm,
                definition.size,
                definition.template,
                port,
                definition.order,
                node.number if node is not None else None,
                definition.ephemeral_bytes,
            )
            values = {
                "name": name,
                "uuid": uuid.uuid5(_UUIDS, name),
                "vcpu": definition.size.vcpu,
                "most_vcpu": max(definition.most_vcpu, definition.size.vcpu),
                "memory_mib": definition.size.memory_mib,
                "address": self._place.address,
                "port": port,
            }
            disk = disk_of(self._connection, definition.volume)
            seeded = has_seed(self._templates / definition.template)
            seed = seed_of(self._connection, definition.org, definition.vm) if seeded else None
            xml = fill(self._templates, definition.template, values, marks.xml(mark), disk, seed=seed)
            if node is not None:
                xml = numa.pin(xml, node)
                self._pinning.comes(name)
            if mark.ephemeral_bytes:
                xml = ephemeral.attach(xml, ephemeral.path(self._place, mark.org, mark.vm))
            xml, mark = looking.marked(xml, mark)
            self._domains[name] = self._connection.defineXML(xml)
            self._marks[name] = mark
            return self._defined(name, port)

    def nodeless(self, name: str, memory_mib: int) -> str | None:
        """Why the domain, which is pinned, would fit no node with so much memory; None where it would."""
        try:
            self._pinning.node(name, memory_mib, self.domains(), self._marks)
        except numa.NodesFullError as error:
            return str(error)
        return None

    def start(self, name: str) -> None:
        """The domain is booted, or goes on where it was saved; an error on one that runs.

        A restored one is paused at first: whoever dies between the two calls leaves a sleeper in RAM.
        """
        mark = self._mark(name)
        if mark is not None and mark.ephemeral_bytes and self.state(name) == "off":
            ephemeral.renew(self._connection, self._place, (mark.org, mark.vm), mark.ephemeral_bytes)
        self._on(name, lambda domain: domain.create())
        self._pinning.came(name)
        if self.state(name) == "paused":
            self.resume(name)

    def resume(self, name: str) -> None:
        """The domain runs: one round trip when it was paused. One that was suspended to RAM is woken up."""
        try:
            self._on(name, lambda domain: domain.resume())
        except libvirt.libvirtError as error:
            if error.get_error_code() not in _WRONG_STATE:
                raise
            seen = self._on(name, number)
            if seen == libvirt.VIR_DOMAIN_PMSUSPENDED:
                self._on(name, lambda domain: domain.pMWakeup())
            elif STATES[seen] != "running":
                raise

    def suspend(self, name: str) -> None:
        """The domain is paused. QEMU's driver lets a paused one be, the test driver refuses that."""
        try:
            self._on(name, lambda domain: domain.suspend())
        except libvirt.libvirtError as error:
            if error.get_error_code() not in _WRONG_STATE or self.state(name) != "paused":
                raise

    def stop(self, name: str) -> None:
        """The domain is off or gone, and so are the image of one that was saved, and its ephemeral disk."""
        whose = self._whose_ephemeral(name)
        self._power_off(name)
        self._pinning.came(name)
        if whose is not None:
            try:
                ephemeral.remove(self._connection, whose)
            except libvirt.libvirtError as error:
                # The domain is off, which is what was asked; the next boot, or the next connection, does away with the rest.
                log.warning("%s is off, and its ephemeral disk is not removed: %s", name, error)

    def _power_off(self, name: str) -> None:
        try:
            self._on(name, lambda domain: domain.destroy())
        except libvirt.libvirtError as error:
            if error.get_error_code() not in {*_WRONG_STATE, _NO_DOMAIN}:
                raise
            match self.state(name):
                case "saved":
                    self._on(name, lambda domain: domain.managedSaveRemove())
                case "off" | "missing":
                    pass
                case "running" | "paused":
                    raise

    def undefine(self, name: str) -> None:
        """The domain is gone, and so is the image of one that was saved."""
        self.stop(name)
        gone.undefine(self._connection, name)
        self._domains.pop(name, None)
        self._marks.pop(name, None)

    def retire(self, domain: str, uuid: str) -> DomainState:
        """A domain of somebody else's is gone where it was off; how it was found."""
        return gone.retire(self._connection, domain, uuid)

    def save(self, name: str) -> int:
        """The paused domain's memory is in an image on its host's disk; the image's bytes.

        It is saved as the paused domain that it is. The trap: of one that is saved to be running when it is restored,
        libvirt starts the CPUs when there is no room on disk, so that a sleeper would run (measured; libvirt 9.0).
        """
        try:
            self._on(name, lambda domain: domain.managedSave(libvirt.VIR_DOMAIN_SAVE_PAUSED))
        except libvirt.libvirtError as error:
            if _NO_ROOM in (error.get_error_message() or ""):
                raise DiskFullError(
                    f"The disk of host {self._place.name} has no room for the memory of {name}; it sleeps on in RAM. Make room "
                    f"where libvirt keeps its images. libvirt says: {error.get_error_message()}."
                ) from error
            if error.get_error_code() not in _WRONG_STATE or self.state(name) != "saved":
                raise
        return self._on(name, image_bytes)

    def life(self, name: str) -> Life | None:
        """What the domain that runs was started as, from its own description; None for one that does not run, or is not ours."""
        if self.state(name) not in {"running", "paused"}:
            return None
        mark = self._on(name, marks.read)
        return None if mark is None else Life(mark.order, mark.size)

    def shutdown(self, name: str) -> None:
        """The guest was asked to shut down, by its power button; one that is off already is as good."""
        try:
            self._on(name, lambda domain: domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN))
        except libvirt.libvirtError as error:
            if error.get_error_code() not in {*_WRONG_STATE, _NO_DOMAIN} or self.state(name) == "running":
                raise

    def plug(self, name: str, vcpu: int) -> None:
        """The domain that runs has so many vCPU, and keeps them when its guest restarts; none is ever taken out.

        The trap: QEMU 7.2 dies at the next device that is attached after a vCPU was unplugged (measured).
        """

        def more(domain: libvirt.virDomain) -> None:
            if domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE) < vcpu:
                domain.setVcpusFlags(vcpu, libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG)

        self._on(name, more)

    def refresh(self, name: str) -> int:
        """The guest's clock is this machine's and its entropy is fresh; so many bytes of it."""
        return self._on(name, agent.refresh)

    def kills(self, name: str) -> int:
        """How many processes the running guest's kernel killed since its boot, for want of memory."""
        return self._on(name, agent.kills)

    def _on(self, name: str, call: Callable[[libvirt.virDomain], T]) -> T:
        domain = self._domains.get(name)
        if domain is not None:
            try:
                return call(domain)
            except libvirt.libvirtError as error:
                if error.get_error_code() != _NO_DOMAIN:
                    raise
                self._domains.pop(name, None)
                self._marks.pop(name, None)
        domain = self._domains[name] = self._connection.lookupByName(name)
        return call(domain)

    def _mark(self, name: str) -> marks.Mark | None:
        """What the domain was defined as; None for one that is gone, or not ours."""
        known = self._marks.get(name)
        if known is not None:
            return known
        try:
            return self._on(name, marks.read)
        except libvirt.libvirtError as error:
            if error.get_error_code() != _NO_DOMAIN:
                raise
            return None

    def _whose_ephemeral(self, name: str) -> tuple[str, str] | None:
        """Whose ephemeral disk goes with the domain; None where it has none. One whose mark nobody can read may have one, of its name's VM."""
        try:
            mark = self._mark(name)
        except msgspec.DecodeError:
            return owner(name)
        return (mark.org, mark.vm) if mark is not None and mark.ephemeral_bytes else None

    def _defined(self, name: str, port: int) -> Defined:
        return Defined(name, str(uuid.uuid5(_UUIDS, name)), f"{self._place.address}:{port}")

    def _on_close(self, _connection: libvirt.virConnect, _reason: int, _opaque: None) -> None:
        self.open = False
        self._ears.closed(self)

    def _on_lifecycle(
        self,
        _connection: libvirt.virConnect,
        domain: libvirt.virDomain,
        event: int,
        detail: int,
        _opaque: None,
    ) -> None:
        meant = hearing.meant(event, detail)
        if meant is not None:
            self._ears.changed(self, domain.name(), *meant)

    def _on_reboot(self, _connection: libvirt.virConnect, domain: libvirt.virDomain, _opaque: None) -> None:
        """Its guest started anew without the domain's end; what we order is a stop and a start, and never comes here."""
        self._ears.changed(self, domain.name(), "running", REBOOTED)
