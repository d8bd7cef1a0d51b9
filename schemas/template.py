"""What a VM template's directory holds that more than one worker must know."""

from pathlib import Path
from typing import Final

DOMAIN: Final = "domain.xml"
"""The domain's description, with placeholders."""

DISK: Final = "{disk}"
"""The placeholder for the file of a VM's disk; a template that has it has a disk."""

SEED: Final = "{seed}"
"""The placeholder for the file of a VM's seed disk, which tells a customer's own image what to become."""

BASE: Final = "disk.qcow2"
"""What the disk of every VM of the template begins as."""


def has_disk(directory: Path) -> bool:
    """Whether VMs of the template have a disk; False for one that cannot be read, which is refused when it is filled in."""
    return _holds(directory, DISK)


def has_seed(directory: Path) -> bool:
    """Whether VMs of the template have a seed disk; False for one that cannot be read, as with disks."""
    return _holds(directory, SEED)


def _holds(directory: Path, placeholder: str) -> bool:
    try:
        return placeholder in (directory / DOMAIN).read_text()
    except OSError:
        return False
