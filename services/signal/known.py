"""What the door knows of the house: orgs, pools, hosts, documents and keys, as far as the ledger was read."""

from collections.abc import Callable
from dataclasses import dataclass, field

from projections.contracts.fold import Contracts
from projections.copies.fold import Copies
from projections.directory.fold import Directory
from projections.fleet.fold import Fleet
from projections.usage.fold import Usage
from schemas.image import LAB, Image

ImageOf = Callable[[str], Image | None]
"""The image of a template by its name; None where there is none. Raises `ImageError`."""


def lab_image(template: str) -> Image | None:  # noqa: ARG001 - whichever it is
    """What a template is that states nothing: where nobody looks into its directory."""
    return LAB


@dataclass(frozen=True, slots=True)
class Known:
    """The views that a request is judged by before it is stored."""

    usage: Usage = field(default_factory=Usage)
    fleet: Fleet = field(default_factory=Fleet)
    contracts: Contracts = field(default_factory=Contracts)
    directory: Directory = field(default_factory=Directory)
    copies: Copies = field(default_factory=Copies)
    image_of: ImageOf = lab_image

    def has(self, org: str) -> bool:
        """Whether the org has a contract or a pool here."""
        return org in self.usage.contracts or any(owner == org for owner, _ in self.fleet.pools)
