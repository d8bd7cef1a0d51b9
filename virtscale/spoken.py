"""Errors that say in one sentence what was refused and what to do; a command shows that and no trace."""

from typing import Final

from events.bus.port import BusError
from events.clock import ClockError
from events.keys import KeyFileError
from events.lock import TakenError
from events.registry import UnknownEventError
from events.tlog.leaf import EntryError
from events.tlog.note import NoteError
from events.tlog.proof import ProofError
from events.tlog.tiles import TileError
from events.vault import VaultError
from lab.errors import LabError
from replay.audit.export import ExportRefusedError
from replay.audit.tarred import PlaceError
from replay.audit.verify import UnverifiableError
from replay.backtest.rows import TraceError
from replay.backtest.score import ScoreError
from replay.figures.clients import ClientsError
from replay.figures.sealed import SealError
from replay.keeping.intent import KeepingError
from replay.statement.month import StatementError
from replay.views.digest import ViewsError
from replay.whatif.rules import WhatIfError
from schemas.contract.document import ContractError
from schemas.dated import PolicyError
from schemas.house import HouseError
from schemas.ics import AddressError
from schemas.image import ImageError
from schemas.maintenance import WindowError
from schemas.pool import PoolError
from schemas.seed import SeedError
from schemas.sizes import SizeError
from schemas.zones import ZoneError
from services.sealer.halt import SealerError
from virtscale.ask import TurnedAwayError
from virtscale.contracts.shelf import NothingSignedError
from virtscale.contracts.signing import PaperError
from virtscale.demo.errors import CurveError
from virtscale.history import ExportError
from virtscale.hosts.added import HostError
from virtscale.keys.signers import SignerError
from virtscale.publishers import PublisherError
from virtscale.ruled import UndecidedError
from virtscale.vms.errors import ConsoleError

SPOKEN: Final[tuple[type[Exception], ...]] = (
    AddressError,
    BusError,
    ClientsError,
    ClockError,
    ConsoleError,
    ContractError,
    CurveError,
    EntryError,
    ExportError,
    ExportRefusedError,
    HostError,
    HouseError,
    ImageError,
    KeepingError,
    KeyFileError,
    LabError,
    NoteError,
    NothingSignedError,
    PaperError,
    PlaceError,
    PolicyError,
    PoolError,
    ProofError,
    PublisherError,
    ScoreError,
    SealError,
    SealerError,
    SeedError,
    SignerError,
    SizeError,
    StatementError,
    TakenError,
    TileError,
    TraceError,
    TurnedAwayError,
    UndecidedError,
    UnknownEventError,
    UnverifiableError,
    VaultError,
    ViewsError,
    WhatIfError,
    WindowError,
    ZoneError,
)
"""Everything else is ours to mend, and shows its trace."""
