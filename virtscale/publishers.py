"""Outsiders who may publish requests: each has a key, and may ask for one org in one name."""

from pathlib import Path
from typing import Final

from events import keys
from events.bus.permissions import Permit, publisher
from schemas.contract.document import read as read_contract
from schemas.contract.document import terms
from schemas.house import House
from schemas.names import FORECAST, OPERATOR, TRIGGER, is_name
from schemas.pool import read as read_pool
from virtscale.exits import EXIT_NOT_FOUND

_LIST: Final = "publishers"
RESERVED: Final = frozenset({FORECAST, OPERATOR, TRIGGER})
"""Names that the house itself publishes under."""


class PublisherError(ValueError):
    """The publisher cannot be added; the sentence says why."""

    code = "PublisherRefused"


class OrgUnknownError(PublisherError):
    """The house has neither a contract nor a pool of the org."""

    code = "OrgUnknown"
    exit_code = EXIT_NOT_FOUND


def add(house: House, org: str, name: str) -> Path:
    """The outsider has a key file, and a running bus knows it a moment later. Safe to repeat: the key stays."""
    for text, what in ((org, "org"), (name, "publisher")):
        if not is_name(text):
            raise PublisherError(
                f"{text!r} cannot be the name of a {what}: 1 to 40 of a-z, 0-9 and inner dashes. Nothing was added."
            )
    if name in RESERVED:
        raise PublisherError(
            f"{name!r} is the house's own name on the bus. Choose another; nothing was added."
        )
    if org not in _orgs(house):
        raise OrgUnknownError(
            f"The org {org} has no contract in {house.contracts} and no pool in {house.pools}. Nothing was added."
        )
    permit = publisher(org, name)
    path = keys.path_of(house.keys, permit.name)
    keys.create(path)
    listed = Path(house.directory) / _LIST
    listed.mkdir(parents=True, exist_ok=True)
    (listed / f"{org}.{name}").touch()
    return path


def _orgs(house: House) -> set[str]:
    contracts = (terms(read_contract(path.read_bytes())).org for path in Path(house.contracts).glob("*.toml"))
    pools = (read_pool(path.read_text()).org for path in Path(house.pools).glob("*.toml"))
    return {*contracts, *pools}


def has_key(directory: Path, org: str, name: str) -> bool:
    """Whether somebody may ask for the org in this name."""
    return (directory / _LIST / f"{org}.{name}").exists()


def all_of(directory: Path) -> tuple[Permit, ...]:
    """Every outsider's permit."""
    listed = sorted((directory / _LIST).glob("*.*")) if (directory / _LIST).is_dir() else []
    return tuple(publisher(*entry.name.split(".", 1)) for entry in listed)
