"""Errors that say in one sentence what was refused and what to do; a command shows that and no trace."""

from typing import Final

from events.bus.port import BusError
from events.keys import KeyFileError
from events.lock import TakenError
from events.registry import UnknownEventError
from events.vault import VaultError
from lab.errors import LabError
from replay.digest import ViewsError
from schemas.contract.document import ContractError
from schemas.house import HouseError
from schemas.pool import PoolError
from virtscale.ask import TurnedAwayError
from virtscale.contracts.shelf import NothingSignedError
from virtscale.contracts.signing import PaperError
from virtscale.history import ExportError
from virtscale.hosts.added import HostError
from virtscale.keys.signers import SignerError
from virtscale.publishers import PublisherError
from virtscale.ruled import UndecidedError

SPOKEN: Final[tuple[type[Exception], ...]] = (
    BusError,
    ContractError,
    ExportError,
    HostError,
    HouseError,
    KeyFileError,
    LabError,
    NothingSignedError,
    PaperError,
    PoolError,
    PublisherError,
    SignerError,
    TakenError,
    TurnedAwayError,
    UndecidedError,
    UnknownEventError,
    VaultError,
    ViewsError,
)
"""Everything else is ours to mend, and shows its trace."""
