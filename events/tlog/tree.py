"""RFC 6962's tree over hashes that stand elsewhere: roots, proofs, and whether a proof holds.

Nothing here keeps the tree. A `Frontier` is what has to be remembered to go on (one hash per bit of the size), and
`Hashes` looks up any complete subtree, in tiles for instance. Indices count from 0: a leaf's is its sequence less 1.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()

Hashes = Callable[[int, int], bytes]
"""Level and index to the hash of a complete subtree: leaves `index * 2**level` to `(index + 1) * 2**level - 1`."""


def node(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\1" + left + right).digest()


def complete(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of neighbouring hashes, at least one."""
    row = hashes
    while len(row) > 1:
        pairs = iter(row)
        row = [sha256(b"\1" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return row[0]


class Frontier:
    """All that must be remembered of a tree for it to grow: its complete subtrees, largest first, one per bit of `size`."""

    __slots__ = ("_hashes", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._hashes: list[bytes] = []

    @classmethod
    def of(cls, size: int, hashes: Sequence[bytes]) -> "Frontier":
        """The frontier of a tree of `size` leaves with these complete subtrees, largest first."""
        if len(hashes) != size.bit_count():
            raise ValueError(
                f"A tree of {size} leaves has {size.bit_count()} complete subtrees, not {len(hashes)}."
            )
        frontier = cls()
        frontier._size, frontier._hashes = size, list(hashes)
        return frontier

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return self._size

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The complete subtrees, largest first, as `of` takes them."""
        return tuple(self._hashes)

    def add(self, leaf: bytes) -> None:
        """The tree has one more leaf, of this hash."""
        rest, hashes, joined = self._size, self._hashes, leaf
        while rest & 1:
            joined = sha256(b"\1" + hashes.pop() + joined).digest()
            rest >>= 1
        hashes.append(joined)
        self._size += 1

    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self._hashes:
            return EMPTY_ROOT
        joined = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            joined = node(left, joined)
        return joined

    def copy(self) -> "Frontier":
        """The same frontier, which goes its own way from now on."""
        return Frontier.of(self._size, self._hashes)


def root_at(size: int, hashes: Hashes) -> bytes:
    """The root that the tree had when it had `size` leaves."""
    return _spanned(0, size, hashes) if size else EMPTY_ROOT


def inclusion(index: int, size: int, hashes: Hashes) -> list[bytes]:
    """The path that proves leaf `index` in the tree of `size` leaves, from the leaf's sibling up (RFC 6962, 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"A tree of {size} leaves has no leaf {index}.")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _half(end - start)
        if index < middle:
            path.append(_spanned(middle, end, hashes))
            end = middle
        else:
            path.append(_spanned(start, middle, hashes))
            start = middle
    return path[::-1]


def consistency(old: int, new: int, hashes: Hashes) -> list[bytes]:
    """The path that proves the tree of `new` leaves to go on from the one of `old` (RFC 6962, 2.1.2)."""
    if not 0 <= old <= new:
        raise ValueError(f"A tree of {new} leaves does not go on from one of {old}.")
    if old in {0, new}:
        return []
    path: list[bytes] = []
    start, end = 0, new
    while end != old:
        middle = start + _half(end - start)
        if old <= middle:
            path.append(_spanned(middle, end, hashes))
            end = middle
        else:
            path.append(_spanned(start, middle, hashes))
            start = middle
    if start:
        path.append(_spanned(start, end, hashes))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the path proves that the leaf of this hash stands at `index` under `root` (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, joined = index, size - 1, leaf
    for step in path:
        if not last:
            return False
        if place & 1 or place == last:
            joined = node(step, joined)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            joined = node(joined, step)
        place >>= 1
        last >>= 1
    return not last and joined == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the path proves that the tree under `new_root` goes on from the one under `old_root` (RFC 9162, 2.1.4.2)."""
    if not 0 <= old <= new:
        return False
    if old in {0, new}:
        return not path and old_root == (new_root if old == new else EMPTY_ROOT)
    steps = list(path) if old & (old - 1) else [old_root, *path]
    if not steps:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place >>= 1
        last >>= 1
    before = after = steps[0]
    for step in steps[1:]:
        if not last:
            return False
        if place & 1 or place == last:
            before, after = node(step, before), node(step, after)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            after = node(after, step)
        place >>= 1
        last >>= 1
    return not last and before == old_root and after == new_root


def _half(width: int) -> int:
    """The largest power of two below `width`."""
    return 1 << ((width - 1).bit_length() - 1)


def _spanned(start: int, end: int, hashes: Hashes) -> bytes:
    """The root over leaves `start` to `end - 1`, where `start` is where RFC 6962 would begin such a subtree."""
    width = end - start
    parts: list[bytes] = []
    while width:
        level = width.bit_length() - 1
        parts.append(hashes(level, start >> level))
        start += 1 << level
        width -= 1 << level
    joined = parts.pop()
    while parts:
        joined = node(parts.pop(), joined)
    return joined
