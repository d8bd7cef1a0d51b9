"""Domains that libvirt is told to forget: ours once they are deleted, others' once they are adopted. Their disks stay. Blocks."""

from typing import Final

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


def undefine(connection: libvirt.virConnect, name: str) -> None:
    """No domain of this name is defined, and what libvirt kept for it is gone; safe to repeat.

    The trap: libvirt undefines a domain that runs without ending it. Whoever asks has it off, and looks afterwards.
    """
    flags = _OURS if connection.getURI().startswith(_TEST) else _OURS | _QEMUS
    try:
        connection.lookupByName(name).undefineFlags(flags)
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
