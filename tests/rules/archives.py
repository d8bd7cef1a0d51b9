"""Archives in memory, sealed with a key that everybody may know, and files that can be hurt."""

from collections.abc import Iterable, Sequence

from nacl.signing import SigningKey

from events.bus.port import Stored
from events.tlog import checkpoint
from events.tlog.checkpoint import Checkpoint
from events.tlog.files import Files
from events.tlog.leaf import entry
from events.tlog.note import Signer
from events.tlog.writer import TileWriter

ORIGIN = "ledger.example.net/one"
SIGNER = Signer(ORIGIN, SigningKey(b"\x07" * 32))
STRANGER = Signer(ORIGIN, SigningKey(b"\x08" * 32))


class MemoryFiles:
    """Files in a dictionary."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = dict(files or {})

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def write(self, path: str, data: bytes) -> None:
        self.files[path] = data

    def listed(self, prefix: str) -> list[str]:
        start = f"{prefix}/" if prefix else ""
        return sorted(path for path in self.files if path.startswith(start))

    def remove(self, path: str) -> None:
        self.files.pop(path, None)

    def copy(self) -> "MemoryFiles":
        return MemoryFiles(self.files)

    def alter(self, path: str, at: int = 0, bit: int = 1) -> None:
        """One bit of one byte is another."""
        data = bytearray(self.files[path])
        data[at] ^= bit
        self.files[path] = bytes(data)


def messages(count: int, first: int = 1) -> list[Stored]:
    """Messages as short as can be, each with its own content."""
    return [
        Stored(
            seq,
            1_700_000_000_000_000_000 + seq,
            f"vs.acme.gate.org.acme.t{seq % 7}",
            f"{seq:032x}",
            b"{%d}" % seq,
        )
        for seq in range(first, first + count)
    ]


def seal(files: Files, stored: Iterable[Stored], signer: Signer = SIGNER) -> str:
    """The messages follow what the archive holds, under a checkpoint of this key; the checkpoint."""
    writer = TileWriter(files)
    for one in stored:
        writer.add(entry(one))
    note = checkpoint.signed(Checkpoint(ORIGIN, writer.size, writer.frontier.root()), signer)
    writer.commit(note)
    files.write("vkey", f"{signer.vkey}\n".encode())
    return note


def sealed(stored: Sequence[Stored]) -> MemoryFiles:
    """An archive of these messages."""
    files = MemoryFiles()
    seal(files, stored)
    return files
