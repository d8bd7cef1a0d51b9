"""What VMs of a template are made from: an image of a kind, which the template's directory states.

Who keeps the inside of a VM in order decides what can be asked of it. A managed one is known inside out, so it is refused
memory in which it could not live, and it is ready when its own page answers. Into a customer's own image nobody looks.
"""

import tomllib
from pathlib import Path
from typing import Final, Literal

import msgspec

from schemas.struct import Value

FILE: Final = "image.toml"
"""Where the image is stated, in the template's directory."""

Kind = Literal["nixos-managed", "cloud-init", "lab"]
"""Managed by the platform; the customer's own, told by a seed disk what to become; a guest that only shows that it lives."""

Readiness = Literal["http", "agent", "none"]
"""What makes a started VM ready: its page answers, its QEMU guest agent answers, or nothing more than that it runs. Nobody waits for
an agent yet, so no image can ask for it."""

MANAGED_FLOOR_MIB: Final = 3 * 1024
"""Below 3 GiB a managed VM is not ordered: management, telemetry and caches take most of the first two."""

_READINESS: Final[dict[Kind, tuple[Readiness, ...]]] = {
    "nixos-managed": ("http",),
    "cloud-init": ("none",),
    "lab": ("http",),
}
"""What each kind can be asked, its usual one first."""

_FLOORS_MIB: Final[dict[Kind, int]] = {"nixos-managed": MANAGED_FLOOR_MIB, "cloud-init": 0, "lab": 0}


class ImageError(ValueError):
    """A template's directory states its image in a way that cannot be read."""

    code = "ImageUnreadable"


class Image(Value, frozen=True):
    """The image of a template."""

    kind: Kind
    readiness: Readiness

    @property
    def memory_floor_mib(self) -> int:
        """Below it a VM of the image is refused; 0 where any memory will do."""
        return _FLOORS_MIB[self.kind]

    @property
    def takes_seed(self) -> bool:
        """Whether a VM is told by a seed disk who it is and what to do: user data is for these alone."""
        return self.kind == "cloud-init"


LAB: Final = Image("lab", "http")
"""What a template is that states nothing."""


class _Stated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: Kind
    readiness: Readiness | None = None


def image_of(directory: Path) -> Image:
    """The image of the template in this directory; one that states nothing is a guest of the lab.

    Raises `ImageError`. The trap: a file that cannot be read is never taken for one that is not there, since a customer's
    own image would then be waited for on a page that it does not have.
    """
    path = directory / FILE
    try:
        text = path.read_text()
    except FileNotFoundError:
        return LAB
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"{path} cannot be read ({error}); make it readable, or remove it.") from error
    try:
        stated = msgspec.convert(tomllib.loads(text), _Stated, strict=True)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ImageError(
            f'{path} is no description of an image ({error}); write kind = "nixos-managed" or kind = "cloud-init" there.'
        ) from error
    possible = _READINESS[stated.kind]
    readiness = stated.readiness or possible[0]
    if readiness not in possible:
        raise ImageError(
            f"{path} says that images of kind {stated.kind} are ready by {readiness}, and they can be asked by "
            f"{' or '.join(possible)} only; change `readiness`, or leave it out."
        )
    return Image(stated.kind, readiness)
