"""Hurts the store of a stopped bus: flips bits, truncates, swaps pages and blocks, drops a block or the index.

`python -m tests.seams.damage STORE SEED` does to the ledger in STORE, a nats-server's `store_dir`, what the seed says, and
prints it. The same seed on the same store does the same.
"""

import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Kind = Literal["flip", "truncate", "swap", "exchange", "drop-index", "drop-block", "flip-index", "flip-meta"]

KINDS: Final[tuple[Kind, ...]] = (
    "flip",
    "truncate",
    "swap",
    "exchange",
    "drop-index",
    "drop-block",
    "flip-index",
    "flip-meta",
)
OF_INDEX: Final[frozenset[Kind]] = frozenset({"drop-index", "flip-index"})
PAGE_BYTES: Final = 4096
MOST_FLIPS: Final = 4


@dataclass(frozen=True)
class Damage:
    """What was done, in words."""

    kind: Kind
    what: str
    index_dropped: bool
    """Whether the server has to find its messages again from the blocks alone."""


def damage(store: Path, seed: int) -> Damage:
    """The ledger in the store is hurt as the seed says; kinds go in turn, so that a row of seeds has all of them.

    A server that was killed has left no index: then there are fewer kinds.
    """
    chance = random.Random(seed)
    [ledger] = store.glob("jetstream/*/streams/LEDGER")
    index = ledger / "msgs" / "index.db"
    kinds: list[Kind] = [kind for kind in KINDS if index.exists() or kind not in OF_INDEX]
    kind = kinds[seed % len(kinds)]
    what = _done(ledger, kind, chance)
    drop = kind != "drop-index" and index.exists() and chance.random() < 0.5
    if drop:
        index.unlink()
    return Damage(kind, what, drop or kind == "drop-index")


def _done(ledger: Path, kind: Kind, chance: random.Random) -> str:
    blocks = sorted((ledger / "msgs").glob("*.blk"), key=lambda path: int(path.stem))
    index = ledger / "msgs" / "index.db"
    block = chance.choice(blocks)
    match kind:
        case "flip":
            return _flip(block, chance, chance.randint(1, MOST_FLIPS))
        case "truncate":
            size = block.stat().st_size
            # Every second time within the last page, where a write that was cut off by a power failure ends.
            left = chance.randrange(size) if chance.random() < 0.5 else size - chance.randint(1, PAGE_BYTES)
            with block.open("r+b") as file:
                file.truncate(max(0, left))
            return f"{block.name} cut from {size} to {max(0, left)} bytes"
        case "swap":
            return _swap(block, chance)
        case "exchange":
            return _exchange(blocks, chance)
        case "drop-index":
            index.unlink()
            return "index.db removed"
        case "drop-block":
            block.unlink()
            return f"{block.name} removed"
        case "flip-index":
            return _flip(index, chance, 1)
        case "flip-meta":
            return _flip(ledger / "meta.inf", chance, 1)


def _flip(path: Path, chance: random.Random, bits: int) -> str:
    data = bytearray(path.read_bytes())
    places = [chance.randrange(len(data)) for _ in range(bits)]
    for at in places:
        data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return f"a bit of {path.name} flipped at {', '.join(map(str, sorted(places)))}"


def _swap(block: Path, chance: random.Random) -> str:
    """Two pages of one block stand in each other's place, as after a write that went astray."""
    data = bytearray(block.read_bytes())
    pages = len(data) // PAGE_BYTES
    one, other = (page * PAGE_BYTES for page in chance.sample(range(pages), 2))
    data[one : one + PAGE_BYTES], data[other : other + PAGE_BYTES] = (
        data[other : other + PAGE_BYTES],
        data[one : one + PAGE_BYTES],
    )
    block.write_bytes(data)
    return f"pages at {one} and {other} of {block.name} swapped"


def _exchange(blocks: list[Path], chance: random.Random) -> str:
    """Two block files have each other's content."""
    one, other = chance.sample(blocks, 2)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    return f"{one.name} and {other.name} exchanged"


if __name__ == "__main__":
    print(damage(Path(sys.argv[1]), int(sys.argv[2])).what)
