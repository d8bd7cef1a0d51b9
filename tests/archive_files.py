"""An archive's files in memory, which can die between any two writes or be full, and a ledger's worth of messages."""

import errno
from collections.abc import Sequence

from nacl.signing import SigningKey

from events.stored import Stored
from events.tlog.checkpoint import Checkpoint, signed
from events.tlog.leaf import entry
from events.tlog.note import Signer
from events.tlog.writer import TileWriter

ORIGIN = "ledger.example/east"
SIGNER = Signer(ORIGIN, SigningKey(bytes(range(32))))


class KilledError(BaseException):
    """The process ends here: no handler of the program may see it."""


class MemoryFiles:
    """`Files` that outlive their writer. A write or a removal past `dies_after` kills, one past `full_after` finds no room.

    With `torn` the change at which it dies had reached the disk; without it had not.
    """

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.changes = 0
        self.dies_after: int | None = None
        self.full_after: int | None = None
        self.torn = False

    def read(self, path: str) -> bytes | None:
        return self.held.get(path)

    def write(self, path: str, data: bytes) -> None:
        dying = self._counted()
        if not dying and self.full_after is not None and self.changes > self.full_after:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        if not dying or self.torn:
            self.held[path] = data
        if dying:
            raise KilledError

    def listed(self, prefix: str) -> list[str]:
        return sorted(path for path in self.held if not prefix or path.startswith(prefix + "/"))

    def remove(self, path: str) -> None:
        dying = self._counted()
        if not dying or self.torn:
            self.held.pop(path, None)
        if dying:
            raise KilledError

    def _counted(self) -> bool:
        self.changes += 1
        return self.dies_after is not None and self.changes > self.dies_after


def message(seq: int) -> Stored:
    """Event `seq` of a ledger that is the same wherever it is written; no two of its messages are alike."""
    payload = b'{"n":%d,"pad":"%s"}' % (seq, b"x" * (seq % 37))
    return Stored(
        seq, 1_763_802_000_000_000_000 + seq, f"vs.acme.gate.org.acme.n{seq % 5}", f"id-{seq}", payload
    )


def entries(size: int, after: int = 0) -> list[bytes]:
    """The entries of events `after + 1` to `size`."""
    return [entry(message(seq)) for seq in range(after + 1, size + 1)]


def sealed(writer: TileWriter, signer: Signer = SIGNER) -> str:
    """The signed checkpoint over all that the writer holds."""
    frontier = writer.frontier
    return signed(Checkpoint(signer.name, frontier.size, frontier.root()), signer)


def archive_of(size: int, steps: Sequence[int] = ()) -> MemoryFiles:
    """The files of an archive of `size` events, with a checkpoint after each of `steps` and one at the end."""
    files = MemoryFiles()
    writer = TileWriter(files)
    for step in sorted({*steps, size}):
        for one in entries(step, writer.size):
            writer.add(one)
        writer.commit(sealed(writer))
    return files
