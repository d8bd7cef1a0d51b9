"""Domains that libvirt is told to forget: ours once they are deleted, others' once they are adopted. Their disks stay. Blocks."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import libvirt

from services.waker.libvirt.states import state_of
from services.waker.port import DomainState, HypervisorError

_TEST: Final = "test:"
_OURS: Final = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
_QEMUS: Final = (
    libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_TPM
)
"""What else QEMU's driver keeps for a domain, and what the guest's firmware and TPM kept; the test driver has none, and refuses the
words."""

log = logging.getLogger("virtscale.waker")


def undefine(connection: libvirt.virConnect, name: str) -> None:
    """No domain of this name is defined, and what libvirt kept for it is gone, as are its consoles' logs; safe to repeat.

    The trap: libvirt undefines a domain that runs without ending it. Whoever asks has it off, and looks afterwards.
    """
    flags = _OURS if connection.getURI().startswith(_TEST) else _OURS | _QEMUS
    try:
        domain = connection.lookupByName(name)
        # Before it: where they are, nobody knows once it is undefined.
        _remove_logs(connection, domain)
        domain.undefineFlags(flags)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return
    try:
        left = connection.lookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return
    raise HypervisorError(f"{left.name()} was undefined, and runs: it was started meanwhile.")


def _remove_logs(connection: libvirt.virConnect, domain: libvirt.virDomain) -> None:
    """Nothing that its guest said on a console is left on this machine.

    libvirt does not remove such files, and has no call for it: on another machine, or where we may not, they stay, and that is said. One
    that does not bear the domain's name may be others' as well.
    """
    remote = urlsplit(connection.getURI()).hostname is not None
    for file in _logs(domain):
        try:
            if remote:
                log.warning("%s is undefined; its console's log %s stays on its host", domain.name(), file)
                continue
            for one in (file, *file.parent.glob(f"{file.name}.[0-9]*")):  # those that libvirt rolled
                one.unlink(missing_ok=True)
        except OSError as error:
            log.warning(
                "%s is undefined; its console's log %s stays: %s", domain.name(), file, error.strerror
            )


def _logs(domain: libvirt.virDomain) -> Iterator[Path]:
    described = ET.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))  # noqa: S314 - libvirt's own words
    # A serial line that is the console too is described twice.
    found = {Path(one.get("file", "")) for one in described.iterfind("devices/*/log")}
    return (one for one in sorted(found) if one.name.startswith(f"{domain.name()}."))


def retire(connection: libvirt.virConnect, name: str, uuid: str) -> DomainState:
    """The domain is not defined any more where it was off; how it was found. Its firmware's memory stays, as its disks do."""
    try:
        domain = connection.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return "missing"
    if domain.name() != name:
        raise HypervisorError(
            f"The domain {uuid} is called {domain.name()} by now, and not {name}.", final=True
        )
    found = state_of(domain)
    if found == "off":
        keep = 0 if connection.getURI().startswith(_TEST) else libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
        domain.undefineFlags(keep)
    return found
