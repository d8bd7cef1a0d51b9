"""Where a disk is, for a driver of volumes to find it again."""

from typing import Annotated

import msgspec

Place = Annotated[str, msgspec.Meta(max_length=500)]
"""A file on the VM's host, or an image in a pool."""
