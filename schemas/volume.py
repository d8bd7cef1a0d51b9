"""How VMs' disks are called and described, for whoever makes them and whoever has a domain write to them."""

import re
from dataclasses import dataclass
from html import escape
from typing import Final

POOL: Final = "virtscale"
"""libvirt's name for a host's directory of disks."""

_SUFFIX: Final = ".qcow2"
_LAYER: Final = re.compile(r"\.s([0-9]{1,16})\.qcow2\Z")


def volume_name(org: str, vm: str) -> str:
    """The file of a VM's disk; the dot keeps two orgs apart, as in the names of domains."""
    return f"{org}.{vm}{_SUFFIX}"


def layer_over(volume: str, asleep_since: int) -> str:
    """The file above a volume that was pinned in the sleep that began at this sequence.

    It has its name from the sleep, so that whoever looks at a disk sees which sleep pinned it, and nobody pins one twice.
    """
    return f"{volume.removesuffix(_SUFFIX)}.s{asleep_since}{_SUFFIX}"


def sleep_of(layer: str, volume: str) -> int | None:
    """The sleep that a file above the volume has its name from; None for any other file."""
    found = _LAYER.search(layer)
    if found is None or layer_over(volume, int(found[1])) != layer:
        return None
    return int(found[1])


def in_cluster(place: str) -> bool:
    """Whether a volume is an image in a Ceph cluster, by its place: `pool/image`, where that of a file is an absolute path."""
    return not place.startswith("/")


def seed_name(org: str, vm: str) -> str:
    """The file of a VM's seed disk."""
    return f"{org}.{vm}.seed.iso"


def is_of(file: str, org: str, vm: str) -> bool:
    """Whether a file among a host's disks is this VM's by its name: its disk, a layer, a seed, a draft, or what is in the trash.

    A name has no dot in it, so that what stands between the first two is one VM's and nobody else's: `acme.db.qcow2` is not of
    `acme.db-2`, nor the other way round.
    """
    return file.startswith(f"{org}.{vm}.")


@dataclass(frozen=True, slots=True)
class FileSource:
    """A volume that is a qcow2 file on the domain's host."""

    path: str


@dataclass(frozen=True, slots=True)
class ClusterSource:
    """A volume in a Ceph cluster."""

    image: str
    """pool/image"""
    monitors: tuple[str, ...]
    """host:port of each."""
    user: str
    """Without `client.` before it."""
    secret: str
    """The uuid under which the host's libvirt has the user's key."""


Source = FileSource | ClusterSource

_MONITORS: Final = "monitors: "


def secret_usage(user: str) -> str:
    """What libvirt on a host knows a cluster's user by, named without `client.`: a host has one secret for each."""
    return f"client.{user} secret"


def secret_xml(source: ClusterSource) -> str:
    """The libvirt secret for the source's user, which says as well where the cluster answers.

    So whoever describes a domain needs neither the cluster's configuration nor its keys: it finds on the host what storage laid
    there.
    """
    return (
        "<secret ephemeral='no' private='yes'>"
        f"<description>{_MONITORS}{escape(' '.join(source.monitors))}</description><uuid>{source.secret}</uuid>"
        f"<usage type='ceph'><name>{escape(secret_usage(source.user))}</name></usage></secret>"
    )


def monitors_of(description: str) -> tuple[str, ...]:
    """Where the cluster answers, by the description of a secret that `secret_xml` made; empty for any other."""
    return tuple(description.removeprefix(_MONITORS).split()) if description.startswith(_MONITORS) else ()


def disk_xml(source: Source, target: str) -> str:
    """The `<disk>` of a domain that has the volume as `target` (vda, vdb), on virtio. What its guest frees is freed below."""
    match source:
        case FileSource(path):
            driver, where = "qcow2", f"<source file='{escape(path)}'/>"
        case ClusterSource(image, monitors, user, secret):
            hosts = "".join(
                f"<host name='{escape(name.strip('[]'))}' port='{port}'/>"
                for name, _, port in (monitor.rpartition(":") for monitor in monitors)
            )
            driver = "raw"
            where = (
                f"<auth username='{escape(user)}'><secret type='ceph' uuid='{secret}'/></auth>"
                f"<source protocol='rbd' name='{escape(image)}'>{hosts}</source>"
            )
    kind = "file" if isinstance(source, FileSource) else "network"
    return (
        f"<disk type='{kind}' device='disk'><driver name='qemu' type='{driver}' discard='unmap'/>"
        f"{where}<target dev='{escape(target)}' bus='virtio'/></disk>"
    )
