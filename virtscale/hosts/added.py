"""Hosts that were added to the house: one file each, which a running house notices."""

from pathlib import Path
from typing import Final

import msgspec

from events import durable
from schemas.house import HostPlace
from virtscale.exits import EXIT_FAILED

_LIST: Final = "hosts"


class HostError(ValueError):
    """Something about a host was refused; the sentence says why."""

    def __init__(self, code: str, text: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(text)
        self.code = code
        self.exit_code = exit_code


def all_of(directory: Path) -> tuple[HostPlace, ...]:
    """Every host that was added, by name."""
    return tuple(_read(path) for path in sorted((directory / _LIST).glob("*.json")))


def keep(directory: Path, place: HostPlace) -> None:
    """The host is in the house, wholly and on disk; one with its name was not there before."""
    listed = directory / _LIST
    listed.mkdir(parents=True, exist_ok=True)
    described = msgspec.json.format(msgspec.json.encode(place))
    if not durable.create(listed / f"{place.name}.json", described, mode=0o644):
        raise HostError("HostNameTaken", f"There is a host {place.name} already. Nothing was added.")


def forget(directory: Path, name: str) -> bool:
    """The host is not in the house; whether it was one that had been added."""
    path = directory / _LIST / f"{name}.json"
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    durable.sync(path.parent)
    return True


def _read(path: Path) -> HostPlace:
    try:
        return msgspec.json.decode(path.read_bytes(), type=HostPlace)
    except (OSError, msgspec.MsgspecError) as error:
        raise HostError(
            "HostUnreadable", f"{path} cannot be read: {error}. Move it away, or mend it."
        ) from None
