"""How long a guest's memory takes to go to its host's disk, or to come back from there.

What VMs are made from is another kind of image, in `schemas/image.py`.
"""

from typing import Final

BYTES_PER_SECOND: Final = 100_000_000
"""What is counted on: 10 GiB take 107 s. A plain SSD under other load reads and writes about as much."""

MOST_RESTORES: Final = 4
"""Images read at once on one host. They share what its disk reads, so that each may take as long as all of them together."""


def image_seconds(memory_mib: int) -> float:
    """Seconds for an image of the whole memory, read or written once; nobody counts on what compresses."""
    return memory_mib * 2**20 / BYTES_PER_SECOND


def restore_seconds(memory_mib: int) -> float:
    """Seconds for reading it back beside the most others like it that are read at once."""
    return MOST_RESTORES * image_seconds(memory_mib)
