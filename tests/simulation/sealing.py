"""The sealer of a world: its files, which outlive it, and the laws over what it signed and whom it let write."""

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, TypeVar

from nacl.signing import SigningKey

from events.bus.memory_server import MemoryServer
from events.bus.permissions import Permit, appends
from events.bus.port import Grant, Outgoing, Stored
from events.envelope import SUBJECTS
from events.tlog.checkpoint import Checkpoint, opened
from events.tlog.leaf import entry, leaf_hash
from events.tlog.note import Signer
from events.tlog.reader import CHECKPOINT, Archive
from events.tlog.tree import Frontier, consistency, verify_consistency
from services.sealer.halt import LedgerShorterError
from services.sealer.worker import OWN, Sealer
from tests.simulation.chance import Chance, Plan
from tests.simulation.clock import VirtualClock

T = TypeVar("T")

LAG_SECONDS: Final = 5.0
EVERY_SECONDS: Final = 1.0
"""Half as often as the real one speaks: all others hear it each time."""

SIGNER: Final = Signer("ledger.simulated/world", SigningKey(bytes(range(32))))

MOST_FULL_SECONDS: Final = 12.0
"""Longer than the lag: then nobody writes for a while."""

_MOST_PROOFS: Final = 8  # of one world: each is some hashing, and any two neighbours are as good as others


class AtOnce:
    """In the place of a thread: there are none in virtual time."""

    async def call(self, work: Callable[[], T]) -> T:
        """What the work returned."""
        return work()

    def end(self) -> None:
        """Nothing is ever under way."""


class Files:
    """The archive's disk: what was written is there, whoever died since. At times it is full for some seconds."""

    def __init__(self, now: Callable[[], float], plan: Plan, chance: Chance) -> None:
        self._now = now
        self._plan = plan
        self._chance = chance
        self._full_until = 0.0
        self.held: dict[str, bytes] = {}
        self.checkpoints: list[bytes] = []
        """Every checkpoint that was ever on the disk, in order."""

    def read(self, path: str) -> bytes | None:
        """The file's bytes."""
        return self.held.get(path)

    def write(self, path: str, data: bytes) -> None:
        """The file holds these bytes."""
        if self._chance.strikes(self._plan.archive_full):
            self._full_until = self._now() + self._chance.seconds(0.0, MOST_FULL_SECONDS)
        if self._now() < self._full_until:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.held[path] = data
        if path == CHECKPOINT:
            self.checkpoints.append(data)

    def listed(self, prefix: str) -> list[str]:
        """The paths below a prefix."""
        return sorted(path for path in self.held if path.startswith(f"{prefix}/"))

    def remove(self, path: str) -> None:
        """There is no such file."""
        self.held.pop(path, None)


@dataclass(slots=True)
class Sealing:
    """What one world keeps of its sealer. `now` is the loop's time, `breaks` hears of a law that is broken."""

    now: Callable[[], float]
    breaks: Callable[[str], None]
    files: Files
    last: Sealer | None = None
    """Of the life that began last."""
    older: bool = False
    """The bus has come back with an older copy: the sealer must halt."""
    halted: bool = False
    """It has, for that reason."""
    granted: dict[str, float] = field(default_factory=dict)
    """When the sealer last said, of each start of the server, that one may append."""

    def sealer(self, reach: Callable[[Any], Any], bus: Any, clock: VirtualClock) -> Sealer:
        """The sealer of a new life, which reaches its files as it reaches everything outside of it."""
        self.last = Sealer(
            bus, clock, reach(self.files), lambda _: SIGNER, AtOnce(), every_seconds=EVERY_SECONDS
        )
        return self.last

    def crashed(self, sentence: str) -> None:
        """A program ended by itself, which none may but a sealer that must halt."""
        if self.older and LedgerShorterError.__name__ in sentence:
            self.halted = True
        else:
            self.breaks(sentence)

    @property
    def seq(self) -> int:
        """How far the sealer has read; what others know from their ledger."""
        sealer = self.last
        return sealer.state.read if sealer is not None and hasattr(sealer, "state") else 0

    def grant(self, grant: Grant) -> None:
        """The sealer says so now."""
        self.granted[grant.server] = self.now()

    def sent(self, server: MemoryServer, name: str, messages: Sequence[Outgoing]) -> None:
        """A program sends something to be stored; only what the sealer permitted lately may be."""
        if not appends(name) or not messages[0].subject.startswith(SUBJECTS.removesuffix(">")):
            return
        age = self.now() - self.granted.get(server.server_id, float("-inf"))
        if age > LAG_SECONDS:
            self.breaks(f"{name} appends on {messages[0].subject} {age:.1f} s after its last permit.")

    def unsealed(self, stored: Sequence[Stored]) -> Iterator[str]:
        """What is not sealed yet and must be, one sentence."""
        size = _checkpoint(self.files.checkpoints[-1]).size if self.files.checkpoints else 0
        if any(one.subject != OWN for one in stored[size:]):
            yield f"The ledger has {len(stored)} events, and {size} are sealed."

    def laws(self, stored: Sequence[Stored]) -> Iterator[str]:
        """What is wrong with the checkpoints of a whole story: each covers a prefix, and they go on from each other."""
        checkpoints = [_checkpoint(data) for data in self.files.checkpoints]
        roots = _roots(stored)
        for before, one in zip([None, *checkpoints], checkpoints, strict=False):
            if one.size >= len(roots) or roots[one.size] != one.root:
                yield f"The checkpoint of {one.size} events is of no prefix of the ledger."
                return
            if before is not None and before.size > one.size:
                yield f"The checkpoint of {one.size} events came after one of {before.size}."
        archive = Archive(self.files)
        for before, one in list(pairwise(checkpoints))[-_MOST_PROOFS:]:
            path = consistency(before.size, one.size, archive.hash)
            if not verify_consistency(before.size, one.size, before.root, one.root, path):
                yield f"The archive cannot prove that {one.size} events go on from {before.size}."
        if checkpoints and list(archive.stored(1, archive.size)) != list(stored[: archive.size]):
            yield f"The archive's {archive.size} entries are not the ledger's."


def needs(permit: Permit, *, seals: bool) -> float:
    """How old a permit may be for this user of the bus; 0 for one that needs none."""
    return LAG_SECONDS if seals and appends(permit.name) else 0.0


def _checkpoint(data: bytes) -> Checkpoint:
    return opened(data, SIGNER.verifier)


def _roots(stored: Sequence[Stored]) -> list[bytes]:
    """The root over each prefix of the ledger, from nothing but its messages."""
    frontier = Frontier()
    roots = [frontier.root()]
    for one in stored:
        frontier.add(leaf_hash(entry(one)))
        roots.append(frontier.root())
    return roots
