"""Errors that say in one sentence what was refused and what to do; a command shows that and no trace."""

from typing import Final

from events.bus.port import BusError
from events.keys import KeyFileError
from events.lock import TakenError
from events.registry import UnknownEventError
from events.vault import VaultError
from lab.errors import LabError
from schemas.contract.document import ContractError
from schemas.house import HouseError
from schemas.pool import PoolError
from virtscale.ask import TurnedAwayError
from virtscale.publishers import PublisherError
from virtscale.signers import SignerError

SPOKEN: Final[tuple[type[Exception], ...]] = (
    BusError,
    ContractError,
    HouseError,
    KeyFileError,
    LabError,
    PoolError,
    PublisherError,
    SignerError,
    TakenError,
    TurnedAwayError,
    UnknownEventError,
    VaultError,
)
"""Everything else is ours to mend, and shows its trace."""
