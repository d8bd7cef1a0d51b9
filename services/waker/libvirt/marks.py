"""The mark in a domain's metadata: whose it is, and the order that it was last made ready for."""

import html
from typing import Final

import libvirt
import msgspec

from schemas.capacity import Size
from schemas.names import Name
from services.waker.port import domain_name

NAMESPACE: Final = "urn:virtscale:domain:1"


class Mark(msgspec.Struct, frozen=True):
    """What a domain's metadata says of it, and the port that its guest has.

    Whatever is no name cannot be read: nobody could write of it into the ledger.
    """

    org: Name
    pool: Name
    vm: Name
    size: Size
    template: str
    port: int
    order: str = ""
    """The boot or reboot that it was defined for; empty in domains of before there were any that needed it."""
    node: int | None = None
    """The NUMA node that it is pinned to."""
    ephemeral_bytes: int = 0
    """What its ephemeral disk has; 0 where it has none."""
    disks: tuple[tuple[str, str | None], ...] | None = None
    """Its disks as it was defined with them; None in domains of before that was written down."""


def read(domain: libvirt.virDomain) -> Mark | None:
    """The mark of a domain, of one that runs that of its start; None when it is not ours. `DecodeError` for one that cannot be read.

    Nor can one that is of another VM than its domain's name says: of a domain that somebody copied.
    """
    try:
        element = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE)
    except libvirt.libvirtError as error:
        if error.get_error_code() in {libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN}:
            return None
        raise
    text = element.partition(">")[2].rpartition("<")[0]
    mark = msgspec.json.decode(html.unescape(text), type=Mark)
    if domain_name(mark.org, mark.vm) != domain.name():
        raise msgspec.ValidationError(f"it says that this is {mark.vm} of {mark.org}")
    return mark


def xml(mark: Mark) -> str:
    """The mark as an element of the domain's metadata."""
    text = html.escape(msgspec.json.encode(mark).decode(), quote=False)
    return f"<vs:vm xmlns:vs='{NAMESPACE}'>{text}</vs:vm>"
