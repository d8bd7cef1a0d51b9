"""How much of a damaged archive a signed root still vouches for: the longest beginning whose hashes lead up to it.

Two sources give the hash of a subtree: the entries themselves, hashed again, and the tiles that were written when they were
sealed. Neither is believed for itself. What is believed is whatever makes the signed root, and from there downwards whatever
makes a hash that is believed already; a hash that makes a believed one cannot have been chosen by who altered the files.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Final

from events.tlog.tree import node

Known = Callable[[int, int], bytes | None]
"""Level, index -> the hash of that complete subtree of 2**level leaves; None where it cannot be had."""

_MOST_CHOICES: Final = 4096
"""Ways to put a root together that are tried: where twelve of its parts differ, all of them."""


def parts(size: int) -> Iterator[tuple[int, int]]:
    """Level and index of the complete subtrees that a tree of this size is made of, the largest and first one first."""
    begin = 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            yield level, begin >> level
            begin += 1 << level


def trusted(size: int, root: bytes, entries: Known, tiles: Known) -> int:
    """How many entries, from the first on, are proven by the root; `size` when all of them are."""
    wanted = list(parts(size))
    choices = [_choices(level, index, entries, tiles) for level, index in wanted]
    for tried, chosen in enumerate(product(*choices)):
        if tried == _MOST_CHOICES:
            break
        if chosen and _root(chosen) == root:
            return _along(wanted, chosen, entries, tiles)
    return 0


def _along(wanted: list[tuple[int, int]], chosen: tuple[bytes, ...], entries: Known, tiles: Known) -> int:
    """The proven beginning of subtrees that stand side by side and are all believed."""
    done = 0
    for (level, index), believed in zip(wanted, chosen, strict=True):
        proven = _beginning(level, index, believed, entries, tiles)
        done += proven
        if proven < 1 << level:
            break
    return done


def _beginning(level: int, index: int, believed: bytes, entries: Known, tiles: Known) -> int:
    """How many of the subtree's leaves, from its first on, are what the believed hash says."""
    if entries(level, index) == believed:
        return 1 << level
    if level == 0:
        return 0
    halves = [(level - 1, 2 * index), (level - 1, 2 * index + 1)]
    for left, right in product(*(_choices(*half, entries, tiles) for half in halves)):
        if node(left, right) == believed:
            return _along(halves, (left, right), entries, tiles)
    return 0


def _choices(level: int, index: int, entries: Known, tiles: Known) -> list[bytes]:
    """What the subtree's hash may be: as its entries say, as its tile says."""
    said = (entries(level, index), tiles(level, index))
    return list(dict.fromkeys(one for one in said if one is not None))


def _root(hashes: tuple[bytes, ...]) -> bytes:
    *before, root = hashes
    for left in reversed(before):
        root = node(left, root)
    return root
