"""An archive on disk: whole at every moment, read back as written, and refused where it is not whole."""

from collections.abc import Callable
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from events.tlog.checkpoint import Checkpoint, opened, signed
from events.tlog.files import DirectoryFiles, Files
from events.tlog.leaf import EntryError, entry, leaf_hash
from events.tlog.note import NoteError, Signature
from events.tlog.reader import CHECKPOINT, VKEY, Archive
from events.tlog.tiles import (
    TileError,
    bundle_path,
    decode_bundle,
    decode_tile,
    encode_bundle,
    tile_path,
    width_of,
)
from events.tlog.tree import Frontier, root_at
from events.tlog.writer import TilesUnwrittenError, TileWriter
from tests.archive_files import (
    ORIGIN,
    SIGNER,
    KilledError,
    MemoryFiles,
    archive_of,
    entries,
    message,
    sealed,
)


def root_of(size: int) -> bytes:
    frontier = Frontier()
    for one in entries(size):
        frontier.add(leaf_hash(one))
    return frontier.root()


def write_up_to(files: Files, size: int, step: int) -> None:
    """A sealer's life: opens, and commits every `step` entries until there are `size`."""
    writer = TileWriter(files)
    while writer.size < size:
        for one in entries(min(size, writer.size + step), writer.size):
            writer.add(one)
        writer.commit(sealed(writer))


def holds(files: Files, size: int) -> bool:
    """Whether a stranger finds `size` entries there, all of them and under their root."""
    archive = Archive(files)
    checkpoint = opened(archive.checkpoint_note() or "", SIGNER.verifier)
    return (
        checkpoint == Checkpoint(ORIGIN, size, root_of(size))
        and list(archive.stored(1, size)) == [message(seq) for seq in range(1, size + 1)]
        and root_at(size, archive.hash) == checkpoint.root
        and all(archive.hash(0, at) == leaf_hash(one) for at, one in enumerate(entries(size)))
    )


@pytest.mark.parametrize(
    ("index", "width", "path"),
    [
        (0, 256, "000"),
        (0, 1, "000.p/1"),
        (999, 256, "999"),
        (1000, 256, "x001/000"),
        (1_234_067, 256, "x001/x234/067"),
        (1_234_067, 255, "x001/x234/067.p/255"),
    ],
)
def test_files_stand_where_c2sp_puts_them(index: int, width: int, path: str) -> None:
    assert tile_path(2, index, width) == f"tile/2/{path}"
    assert bundle_path(index, width) == f"tile/entries/{path}"


def test_an_archive_has_the_files_that_its_size_asks_for() -> None:
    files = archive_of(70_000, (69_999,))
    small = sorted(path for path in files.held if not path.startswith(("tile/0/", "tile/entries/")))
    assert small == ["checkpoint", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"]
    partial = [path for path in files.held if ".p/" in path and not path.startswith(("tile/1", "tile/2"))]
    assert sorted(partial) == [
        f"tile/{kind}/273.p/{width}" for kind in ("0", "entries") for width in (111, 112)
    ]
    assert root_at(70_000, Archive(files).hash) == TileWriter(files).frontier.root()


@pytest.mark.parametrize("step", [1, 7, 255, 256, 257, 1000])
def test_however_often_it_is_committed_the_archive_is_the_same(step: int) -> None:
    files = MemoryFiles()
    write_up_to(files, 600, step)
    assert holds(files, 600)
    whole = archive_of(600).held
    assert {path: files.held[path] for path in whole} == whole
    assert {path for path in files.held if path.startswith(("tile/0/000", "tile/entries/000"))} == {
        "tile/0/000",
        "tile/entries/000",
    }


@pytest.mark.parametrize("torn", [False, True])
def test_a_writer_killed_between_any_two_writes_comes_to_the_same_root(*, torn: bool) -> None:
    sizes = (1, 250, 258, 520, 777)

    def live(files: MemoryFiles) -> None:
        writer = TileWriter(files)
        for size in sizes:
            if size > writer.size:
                for one in entries(size, writer.size):
                    writer.add(one)
                writer.commit(sealed(writer))

    unharmed = MemoryFiles()
    live(unharmed)
    assert unharmed.changes > 30
    for dies_after in range(unharmed.changes):
        files = MemoryFiles()
        files.torn = torn
        files.dies_after = dies_after
        with pytest.raises(KilledError):
            live(files)
        files.dies_after = None
        left = TileWriter(files)
        assert left.size in {0, *sizes}
        assert left.frontier.root() == root_of(left.size)
        live(files)
        assert holds(files, sizes[-1])
        assert unharmed.held.items() <= files.held.items()


def test_a_writer_killed_many_times_comes_to_the_same_root() -> None:
    files = MemoryFiles()
    deaths = 0
    for patience in range(1, 200):
        files.dies_after = files.changes + patience
        try:
            write_up_to(files, 700, 90)
        except KilledError:
            deaths += 1
        else:
            break
    assert deaths > 3
    assert holds(files, 700)


@pytest.mark.parametrize("taken", range(8))
def test_a_full_disk_is_one_sentence_and_changes_nothing(taken: int) -> None:
    files = archive_of(300)
    writer = TileWriter(files)
    for one in entries(900, 300):
        writer.add(one)
    note, before = sealed(writer), files.held[CHECKPOINT]
    files.changes, files.full_after = 0, taken
    with pytest.raises(TilesUnwrittenError, match=r"did not take .*: No space left on device") as full:
        writer.commit(note)
    assert "covers events 1 to 300, whole" in str(full.value)
    assert full.value.code == "TilesUnwritten"
    assert files.held[CHECKPOINT] == before
    assert holds(files, 300)
    assert TileWriter(files).size == writer.committed == 300
    files.full_after = None
    writer.commit(note)
    assert holds(files, 900)
    assert archive_of(900, [300]).held == files.held


def test_what_waits_for_a_checkpoint_is_written_before_memory_is_full() -> None:
    files = MemoryFiles()
    writer = TileWriter(files)
    large = message(1).payload * 2000
    frontier = Frontier()
    for seq in range(1, 700):
        one = entry(message(seq)) + large[:50_000]
        frontier.add(leaf_hash(one))
        writer.add(one)
    assert bundle_path(0) in files.held
    assert CHECKPOINT not in files.held
    assert TileWriter(files).size == 0
    writer.commit(sealed(writer))
    assert root_at(699, Archive(files).hash) == frontier.root()


def test_an_entry_that_came_when_the_disk_was_full_was_not_taken() -> None:
    files = MemoryFiles()
    files.full_after = 0
    writer = TileWriter(files)

    def fill() -> None:
        for seq in range(1, 1000):
            writer.add(entry(message(seq)) + bytes(50_000))

    with pytest.raises(TilesUnwrittenError):
        fill()
    size = writer.size
    with pytest.raises(TilesUnwrittenError):
        writer.add(b"once more")
    assert writer.size == size
    files.full_after = None
    writer.add(b"once more")
    writer.commit(sealed(writer))
    assert TileWriter(files).size == size + 1


def test_a_witness_who_answers_late_is_heard_without_what_came_since() -> None:
    files = archive_of(10)
    writer = TileWriter(files)
    late = (Archive(files).checkpoint_note() or "") + Signature("w.example", b"keyk", bytes(72)).line
    writer.add(entries(11)[-1])
    writer.commit(late)
    assert Archive(files).checkpoint_note() == late
    assert (writer.committed, writer.size) == (10, 11)
    writer.commit(sealed(writer))
    assert holds(files, 11)


@pytest.mark.parametrize(
    ("claimed", "why"),
    [
        (Checkpoint(ORIGIN, 12, root_of(12)), "does not cover an archive of 11"),
        (Checkpoint(ORIGIN, 11, root_of(10)), "hash to"),
        (Checkpoint(ORIGIN, 10, root_of(11)), "is not the one that stands there"),
    ],
)
def test_a_checkpoint_of_something_else_is_not_written(claimed: Checkpoint, why: str) -> None:
    files = archive_of(10)
    writer = TileWriter(files)
    writer.add(entries(11)[-1])
    held = dict(files.held)
    with pytest.raises(TileError, match=why):
        writer.commit(signed(claimed, SIGNER))
    assert files.held == held


def flipped(data: bytes) -> bytes:
    return data[:30] + bytes([data[30] ^ 1]) + data[31:]


@pytest.mark.parametrize("path", ["tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44"])
@pytest.mark.parametrize("harm", [flipped, lambda data: data[:-1], lambda data: None])
def test_a_writer_does_not_go_on_from_an_archive_whose_edge_was_altered(
    path: str, harm: Callable[[bytes], bytes | None]
) -> None:
    files = archive_of(300)
    harmed = harm(files.held[path])
    files.held.pop(path)
    if harmed is not None:
        files.held[path] = harmed
    with pytest.raises(TileError):
        TileWriter(files)


def test_a_writer_does_not_go_on_from_what_is_no_checkpoint() -> None:
    files = archive_of(300)
    files.held[CHECKPOINT] = files.held[CHECKPOINT][:30]
    with pytest.raises(NoteError):
        TileWriter(files)
    files.held[CHECKPOINT] = signed(Checkpoint(ORIGIN, 299, root_of(299)), SIGNER).encode()
    with pytest.raises(TileError, match=r"lacks tile/0/001.p/43"):
        TileWriter(files)


def test_a_reader_of_an_older_checkpoint_finds_its_hashes_in_the_full_tile() -> None:
    files = archive_of(100)
    archive = Archive(files)
    assert archive.size == 100
    later = TileWriter(files)
    for one in entries(300, 100):
        later.add(one)
    later.commit(sealed(later))
    assert "tile/0/000.p/100" not in files.held
    assert archive.size == 100
    assert root_at(100, archive.hash) == root_of(100)
    assert [one.seq for one in archive.stored(95, 100)] == [*range(95, 101)]
    with pytest.raises(TileError, match="holds events 1 to 100; 95 to 101 were asked for"):
        list(archive.entries(95, 101))
    archive.checkpoint_note()
    assert archive.size == 300
    assert root_at(300, archive.hash) == root_of(300)


def test_an_archive_without_a_checkpoint_is_empty() -> None:
    archive = Archive(MemoryFiles())
    assert archive.checkpoint_note() is None
    assert archive.vkey() is None
    assert archive.size == 0
    for missing in (lambda: archive.hash(0, 0), lambda: archive.tile(0, 0), lambda: archive.bundle(0)):
        with pytest.raises(TileError):
            missing()


def test_an_archive_has_no_hash_of_a_subtree_that_is_not_complete() -> None:
    archive = Archive(archive_of(300))
    assert archive.hash(8, 0) == root_of(256)
    for level, index in ((8, 1), (0, 300), (9, 0), (2, 75), (0, -1), (16, 0)):
        with pytest.raises(TileError):
            archive.hash(level, index)


def test_an_entry_in_another_ones_place_is_refused_when_it_is_read() -> None:
    files = archive_of(5)
    rows = entries(5)
    rows[1], rows[2] = rows[2], rows[1]
    files.held["tile/entries/000.p/5"] = encode_bundle(rows)
    with pytest.raises(EntryError, match="entry of event 2 says that it is event 3"):
        list(Archive(files).stored(1, 5))


def test_the_public_key_beside_an_archive_is_read_as_a_line() -> None:
    files = archive_of(1)
    files.held[VKEY] = SIGNER.vkey.encode() + b"\n"
    assert Archive(files).vkey() == SIGNER.vkey


@pytest.mark.parametrize(
    ("data", "width"),
    [(b"", 1), (b"\0", 1), (b"\0\2a", 1), (b"\0\1a\0", 1), (b"\0\1a", 2), (b"\0\0" * 257, 256)],
)
def test_a_bundle_that_is_cut_or_too_long_is_refused(data: bytes, width: int) -> None:
    with pytest.raises(TileError, match="Bundle here"):
        decode_bundle(data, width, "here")


@pytest.mark.parametrize(
    ("data", "width"), [(bytes(31), 1), (bytes(32), 2), (bytes(33), 1), (bytes(257 * 32), 256)]
)
def test_a_tile_that_is_cut_or_too_long_is_refused(data: bytes, width: int) -> None:
    with pytest.raises(TileError, match="Tile here"):
        decode_tile(data, width, "here")


def test_a_file_is_as_wide_as_what_is_left_for_it() -> None:
    assert [width_of(index, 300) for index in range(3)] == [256, 44, 0]


def test_a_directory_keeps_an_archive(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path / "audit" / "east")
    assert files.read(CHECKPOINT) is None
    assert files.listed("") == []
    write_up_to(files, 600, 100)
    assert holds(DirectoryFiles(files.root), 600)
    memory = MemoryFiles()
    write_up_to(memory, 600, 100)
    assert {path: files.read(path) for path in files.listed("")} == memory.held
    assert files.listed("tile/entries/002.p") == ["tile/entries/002.p/88"]
    assert not (files.root / "tile/0/000.p").exists()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    files.write(f"{CHECKPOINT}/within", b"")
    with pytest.raises(TileError, match="checkpoint cannot be read: Not a plain file"):
        Archive(files).checkpoint_note()


def test_another_logs_key_does_not_open_the_checkpoint() -> None:
    note = Archive(archive_of(3)).checkpoint_note() or ""
    stranger = SigningKey(b"q" * 32)
    with pytest.raises(NoteError):
        opened(note, type(SIGNER)(ORIGIN, stranger).verifier)
