"""Whatever the size: a proof of what is there holds, of what is not does not, and files, frontier and tree are one."""

import base64
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from events.stored import Stored
from events.tlog.leaf import entry, leaf_hash, parse
from events.tlog.reader import Archive
from events.tlog.tiles import decode_bundle, encode_bundle
from events.tlog.tree import (
    EMPTY_ROOT,
    Frontier,
    complete,
    consistency,
    inclusion,
    node,
    root_at,
    verify_consistency,
    verify_inclusion,
)
from events.tlog.writer import TileWriter
from tests.archive_files import MemoryFiles, entries, sealed
from tests.laws.strength import examples

MOST = 1500
LEAVES = [leaf_hash(one) for one in entries(MOST)]


@cache
def subtree(level: int, index: int) -> bytes:
    """By the definition, leaf by leaf: what every other way has to agree with."""
    if not level:
        return LEAVES[index]
    return node(subtree(level - 1, 2 * index), subtree(level - 1, 2 * index + 1))


def defined_root(start: int, end: int) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if start == end:
        return EMPTY_ROOT
    if end - start == 1:
        return LEAVES[start]
    half = 1 << ((end - start - 1).bit_length() - 1)
    return node(defined_root(start, start + half), defined_root(start + half, end))


SIZES = st.integers(1, MOST)
OTHER = st.binary(min_size=32, max_size=32)


def test_the_roots_of_rfc_6962s_example_tree_are_found() -> None:
    """Eight leaves that implementations of Certificate Transparency test with, and the root over them."""
    leaves = [
        bytes.fromhex(one)
        for one in (
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        )
    ]
    frontier = Frontier()
    for one in leaves:
        frontier.add(leaf_hash(one))
    assert frontier.root().hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_frontier_definition_and_lookup_agree_at_every_size() -> None:
    frontier = Frontier()
    assert frontier.root() == root_at(0, subtree) == EMPTY_ROOT
    for size, leaf in enumerate(LEAVES[:520], start=1):
        frontier.add(leaf)
        assert frontier.size == size
        assert frontier.root() == root_at(size, subtree)
        if size < 140:
            assert frontier.root() == defined_root(0, size)


def test_every_pair_of_sizes_up_to_seventy_is_consistent_and_with_no_other_root() -> None:
    roots = [root_at(size, subtree) for size in range(72)]
    for new in range(71):
        for old in range(new + 1):
            path = consistency(old, new, subtree)
            assert verify_consistency(old, new, roots[old], roots[new], path)
            assert not verify_consistency(old, new, roots[old + 1], roots[new], path)
            assert verify_consistency(old, new, roots[old], roots[new + 1], path) == (old == 0 < new)
            assert not verify_consistency(new + 1, old, roots[old], roots[new], path)
            assert not verify_consistency(old, new, roots[old], roots[new], [*path, roots[0]])
            if path:
                assert not verify_consistency(old, new, roots[old], roots[new], path[:-1])
                assert not verify_consistency(old, new, roots[old], roots[new], [])


@examples(200)
@given(SIZES, st.data())
def test_every_leaf_has_a_proof_and_it_proves_nothing_else(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    path, root = inclusion(index, size, subtree), root_at(size, subtree)
    assert verify_inclusion(LEAVES[index], index, size, path, root)
    other = data.draw(st.integers(-1, size + 1).filter(lambda one: one != index))
    assert not verify_inclusion(LEAVES[index], other, size, path, root)
    assert not verify_inclusion(LEAVES[(index + 1) % MOST], index, size, path, root)
    assert not verify_inclusion(LEAVES[index], index, size, [*path, root], root)
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        for altered in (
            [*path[:at], *path[at + 1 :]],
            [*path[:at], data.draw(OTHER), *path[at + 1 :]],
        ):
            assert not verify_inclusion(LEAVES[index], index, size, altered, root)


@examples(200)
@given(SIZES, SIZES, st.data())
def test_a_tree_goes_on_from_its_own_past_and_from_no_other(one: int, two: int, data: st.DataObject) -> None:
    old, new = sorted((one, two))
    before, after, path = root_at(old, subtree), root_at(new, subtree), consistency(old, new, subtree)
    assert verify_consistency(old, new, before, after, path)
    other = data.draw(OTHER)
    assert not verify_consistency(old, new, other, after, path)
    assert not verify_consistency(old, new, before, other, path)
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        for altered in ([*path[:at], *path[at + 1 :]], [*path[:at], other, *path[at + 1 :]]):
            assert not verify_consistency(old, new, before, after, altered)


@examples(30)
@given(st.lists(SIZES, min_size=1, max_size=6, unique=True))
def test_tiles_written_in_any_steps_give_every_hash_root_and_entry_back(steps: list[int]) -> None:
    files = MemoryFiles()
    for step in sorted(steps):
        writer = TileWriter(files)
        for row in entries(step, writer.size):
            writer.add(row)
        writer.commit(sealed(writer))
        archive = Archive(files)
        assert archive.size == step
        assert root_at(step, archive.hash) == root_at(step, subtree) == writer.frontier.root()
        assert list(archive.entries(1, step)) == entries(step)
        for size in {1, step // 2 or 1, step}:
            assert consistency(size, step, archive.hash) == consistency(size, step, subtree)
            assert inclusion(size - 1, step, archive.hash) == inclusion(size - 1, step, subtree)


@examples(50)
@given(SIZES)
def test_a_frontier_is_all_that_is_needed_to_go_on(size: int) -> None:
    frontier = Frontier()
    for leaf in LEAVES[:size]:
        frontier.add(leaf)
    again = Frontier.of(size, frontier.hashes)
    copy = frontier.copy()
    for leaf in LEAVES[size : size + 20]:
        again.add(leaf)
    assert again.root() == root_at(min(MOST, size + 20), subtree)
    assert copy.root() == frontier.root() == root_at(size, subtree)


@examples(100)
@given(st.lists(st.binary(max_size=80), max_size=256))
def test_a_bundle_gives_its_entries_back(rows: list[bytes]) -> None:
    data = encode_bundle(rows)
    for width in {0, len(rows) // 2, len(rows)}:
        assert decode_bundle(data, width, "here") == rows[:width]


@examples(200)
@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.text(max_size=60),
    st.text(max_size=60),
    st.binary(),
)
def test_every_message_is_read_back_from_its_entry(
    seq: int, stored_ns: int, subject: str, name: str, payload: bytes
) -> None:
    stored = Stored(seq, stored_ns, subject, name, payload)
    assert parse(entry(stored)) == stored


@given(st.integers(0, 8))
def test_a_complete_subtree_is_the_root_over_its_leaves(level: int) -> None:
    assert complete(LEAVES[: 1 << level]) == subtree(level, 0)


def test_roots_are_written_as_every_reader_writes_them() -> None:
    assert base64.b64encode(EMPTY_ROOT) == b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
