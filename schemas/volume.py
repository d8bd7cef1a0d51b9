"""How the files of VMs' disks are called, for whoever makes them and whoever has a domain write to them."""

import re
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
