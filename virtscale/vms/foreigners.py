"""Domains of a host that somebody else made: what would become of each, and why some stay what they are.

libvirt is read by a connection that can change nothing. A disk's file is looked into where it is reachable under its own path; of
one that is not, libvirt says the size, and whether it is whole is found out by storage.
"""

import datetime as dt
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import libvirt
import msgspec

from schemas.capacity import Size
from schemas.foreign import FORMS, Foreign, Obstacle, obstacles, read
from schemas.house import HostPlace
from schemas.image import Kind
from schemas.limits import check, profile
from schemas.names import is_name
from schemas.pool import Pool
from schemas.sizes import SizeError
from services.storage import qemu_img
from services.storage.claims import Claims, against, claims
from services.storage.errors import StorageError
from services.storage.formers import size_of, unfit
from services.waker.libvirt import marks
from services.waker.libvirt.states import state_of
from services.waker.port import DomainState, owner
from virtscale.hosts.added import HostError

LIBVIRT_SECONDS: Final = 15.0
"""How long a hypervisor is waited for; its list of a hundred domains takes some hundred milliseconds."""


class Candidate(msgspec.Struct, frozen=True):
    """One domain that is not ours, and the VM that it would be."""

    domain: str
    uuid: str
    state: DomainState
    vm: str
    """What it would be called."""
    vcpu: int
    memory_mib: int
    disk: str
    disk_bytes: int
    obstacles: tuple[Obstacle, ...]

    @property
    def size(self) -> Size:
        """Its vCPU and memory, as a size of its own."""
        return Size(f"custom-{self.vcpu}x{self.memory_mib}", self.vcpu, self.memory_mib)


class Wanted(msgspec.Struct, frozen=True):
    """Which pool they would be in, from which kind of image, and by what name the one that is meant."""

    pool: Pool
    kind: Kind
    uefi: bool
    """Whether the pool's template boots by UEFI."""
    now: dt.datetime
    domain: str = ""
    """The one that is meant; empty for all."""
    vm: str = ""
    """What it shall be called; empty for its own name."""
    ours: tuple[Path, ...] = ()
    """The directories whose files are the house's own."""


def candidates(place: HostPlace, wanted: Wanted) -> list[Candidate]:
    """Every domain of the host that is not ours, by name; `HostError` where nobody answers in time.

    The trap: libvirt's calls cannot be interrupted, so they are made in a thread that is left behind when the time is over.
    """
    answers: list[list[Candidate] | libvirt.libvirtError] = []

    def ask() -> None:
        try:
            answers.append(sorted(_found(place, wanted), key=lambda one: one.domain))
        except libvirt.libvirtError as error:
            answers.append(error)

    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    asking = threading.Thread(target=ask, name="libvirt", daemon=True)
    asking.start()
    asking.join(LIBVIRT_SECONDS)
    if not answers:
        raise HostError(
            "HostUnanswered",
            f"Host {place.name} did not answer within {LIBVIRT_SECONDS:g} s. Nothing was asked.",
        )
    (answer,) = answers
    if isinstance(answer, libvirt.libvirtError):
        said = answer.get_error_message() or answer
        raise HostError("HostUnanswered", f"Host {place.name} cannot be read: {said}. Nothing was asked.")
    return answer


def _found(place: HostPlace, wanted: Wanted) -> Iterator[Candidate]:
    with libvirt.openReadOnly(place.uri) as connection:
        held = claims(connection, wanted.ours)
        for domain in connection.listAllDomains():
            name = domain.name()
            if wanted.domain not in {"", name} or owner(name) is not None or _is_marked(domain):
                continue
            try:
                yield _candidate(domain, wanted, held)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:  # gone since it was listed
                    raise


def _candidate(domain: libvirt.virDomain, wanted: Wanted, held: Claims) -> Candidate:
    found, state = read(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)), state_of(domain)
    vm = wanted.vm or found.name
    disk = found.disks[0] if found.disks else None
    known = [*_of_state(state), *_of_life(domain), *obstacles(found)]
    disk_bytes = 0
    if disk is not None and disk.kind == "file" and disk.form in FORMS:
        try:
            known += against(Path(disk.place), found.uuid, held, wanted.ours)
            disk_bytes, why = _look(domain, disk.place, disk.form)
            known += why
            if state == "off" and not why:
                known += _of_locks(Path(disk.place))
        except OSError as error:
            text = f"its disk {disk.place} cannot be read: {error.strerror}"
            known.append(Obstacle("DiskUnreadable", text))
    known += _of_pool(found, disk_bytes, vm, wanted)
    return Candidate(
        domain=found.name,
        uuid=found.uuid,
        state=state,
        vm=vm,
        vcpu=found.vcpu,
        memory_mib=found.memory_mib,
        disk=disk.place if disk is not None else "",
        disk_bytes=disk_bytes,
        obstacles=tuple(known),
    )


def _is_marked(domain: libvirt.virDomain) -> bool:
    try:
        return marks.read(domain) is not None
    except msgspec.DecodeError:
        return True  # whose it is, only a person can say


def _of_state(state: DomainState) -> Iterator[Obstacle]:
    if state == "saved":
        yield Obstacle("DomainRuns", "it sleeps on its host's disk: start it, and shut it down")
    elif state != "off":
        yield Obstacle("DomainRuns", f"it is {state}: shut it down")


def _of_life(domain: libvirt.virDomain) -> Iterator[Obstacle]:
    if not domain.isPersistent():
        yield Obstacle("Transient", "it is gone when it is off: define it")
    if count := domain.snapshotNum():
        yield Obstacle("HasSnapshots", f"it has {count} snapshots: delete them")


def _look(domain: libvirt.virDomain, place: str, form: str) -> tuple[int, list[Obstacle]]:
    """What the disk has, and what is wrong with its file."""
    file = Path(place)
    if not file.is_file():
        try:
            return int(domain.blockInfo(place)[0]), []
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                raise
            text = f"its disk {place} cannot be read: {error.get_error_message()}"
            return 0, [Obstacle("DiskUnreadable", text)]
    try:
        why = unfit(file, form)
        return size_of(file, form), [
            Obstacle("DiskUnfit", f"its disk {place} {why}")
        ] if why is not None else []
    except StorageError as error:
        return 0, [Obstacle("DiskUnreadable", f"its disk {place} cannot be read: {error}")]


def _of_locks(file: Path) -> Iterator[Obstacle]:
    """Who has the file of a domain that is off."""
    if file.is_file() and qemu_img.opened(file):
        yield Obstacle("DiskOpen", f"somebody has its disk {file} open: end what reads or writes it")


def _of_pool(found: Foreign, disk_bytes: int, vm: str, wanted: Wanted) -> Iterator[Obstacle]:
    if not is_name(vm):
        yield Obstacle("NameUnfit", f"{vm!a:.60} is no name for a VM: give it one with --domain and --as")
    if found.uefi != wanted.uefi:
        mine, others = ("UEFI", "BIOS") if found.uefi else ("BIOS", "UEFI")
        yield Obstacle(
            "FirmwareDiffers",
            f"it boots by {mine}, and VMs of template {wanted.pool.template} by {others}: take a pool of another template",
        )
    try:
        size = found.size
    except SizeError as error:
        yield Obstacle(error.code, str(error))
        return
    limits = profile(wanted.pool.profile, wanted.now)
    objection = check(size, disk_bytes or None, wanted.kind, limits, "operator")
    if objection is not None:
        yield Obstacle(objection.code, objection.text)
