"""Verifiers that others wrote accept what we seal, and refuse what was done to it afterwards.

Go's `golang.org/x/mod/sumdb` is in Debian. PyPI's `aics-tlog` needs Python 3.12: with an older one it is not among them.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from events.tlog import cosign, proof
from events.tlog.checkpoint import Checkpoint, signed
from events.tlog.files import DirectoryFiles
from events.tlog.note import Signer
from events.tlog.reader import CHECKPOINT, VKEY, Archive
from events.tlog.tiles import decode_bundle, encode_bundle
from events.tlog.tree import consistency
from events.tlog.writer import TileWriter
from lab.guest import cache_directory
from tests.archive_files import ORIGIN, SIGNER, entries, sealed

HERE = Path(__file__).parent / "verifier"
GO_PATH = Path("/usr/share/gocode")
BUILD_SECONDS = 150
ASK_SECONDS = 30

SIZE, SEEN = 700, 512
PACKAGES = ("go", "aics-tlog") if sys.version_info >= (3, 12) else ("go",)


def built() -> Path:
    """The Go program, built once for each text of it: from then on it is in the cache."""
    go = shutil.which("go")
    if go is None or not (GO_PATH / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        pytest.skip("no Go or no golang.org/x/mod here: apt-get install golang-go golang-golang-x-mod-dev")
    cache = cache_directory() / "verifier"
    program = cache / hashlib.sha256((HERE / "main.go").read_bytes()).hexdigest()[:16]
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        draft = cache / f"draft-{os.getpid()}"
        offline = {
            "GO111MODULE": "off",
            "GOPATH": str(GO_PATH),
            "GOCACHE": str(cache / "go"),
            "CGO_ENABLED": "0",
        }
        command = [go, "build", "-trimpath", "-o", str(draft), str(HERE / "main.go")]
        subprocess.run(
            command, check=True, timeout=BUILD_SECONDS, env={**os.environ, "GOFLAGS": "", **offline}
        )
        draft.replace(program)
    return program


@dataclass(frozen=True)
class Verifier:
    """A program of somebody else; what it says is one line either way."""

    command: tuple[str, ...]

    def accepts(self, *arguments: str | Path) -> str:
        done = self._asked(arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def refuses(self, *arguments: str | Path) -> str:
        done = self._asked(arguments)
        assert done.returncode == 1, f"accepted, or died: {done}"
        assert "Traceback" not in done.stderr
        return done.stderr.strip()

    def _asked(self, arguments: tuple[str | Path, ...]) -> subprocess.CompletedProcess[str]:
        command = [*self.command, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)


@pytest.fixture(scope="module", params=PACKAGES)
def verifier(request: pytest.FixtureRequest) -> Verifier:
    if request.param == "go":
        return Verifier((str(built()),))
    return Verifier((sys.executable, str(HERE / "with_aics.py")))


@dataclass(frozen=True)
class Sealed:
    """An archive on disk, its key beside it, and a checkpoint that somebody kept when it had `SEEN` entries."""

    root: Path
    old: Path

    @property
    def files(self) -> DirectoryFiles:
        return DirectoryFiles(self.root)

    @property
    def vkey(self) -> Path:
        return self.root / VKEY


def write(root: Path, rows: list[bytes], *sizes: int, signer: Signer = SIGNER) -> list[str]:
    """An archive of these entries with a checkpoint at each of the sizes; the checkpoints."""
    files = DirectoryFiles(root)
    files.write(VKEY, SIGNER.vkey.encode() + b"\n")
    writer = TileWriter(files)
    notes: list[str] = []
    for size in sizes:
        for row in rows[writer.size : size]:
            writer.add(row)
        notes.append(sealed(writer, signer))
        writer.commit(notes[-1])
    return notes


@pytest.fixture
def archive(tmp_path: Path) -> Sealed:
    notes = write(tmp_path / "audit", entries(SIZE), 300, SEEN, SIZE)
    old = tmp_path / "kept"
    old.write_text(notes[1], encoding="utf-8")
    return Sealed(tmp_path / "audit", old)


def test_checkpoint_tiles_and_entries_are_accepted_with_and_without_a_past(
    verifier: Verifier, archive: Sealed
) -> None:
    said = f"archive of {SIZE} entries accepted"
    assert verifier.accepts("archive", archive.root, archive.vkey) == said
    assert verifier.accepts("archive", archive.root, archive.vkey, archive.old) == said


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 512])
def test_an_archive_of_any_size_is_accepted(verifier: Verifier, tmp_path: Path, size: int) -> None:
    write(tmp_path, entries(size), size)
    assert verifier.accepts("archive", tmp_path, tmp_path / VKEY) == f"archive of {size} entries accepted"


def test_a_log_of_three_levels_of_tiles_is_accepted(verifier: Verifier, tmp_path: Path) -> None:
    size = 65_536 + 300
    write(tmp_path, entries(size), size)
    assert verifier.accepts("archive", tmp_path, tmp_path / VKEY) == f"archive of {size} entries accepted"


def test_the_proof_of_one_event_is_accepted_for_that_event_alone(
    verifier: Verifier, archive: Sealed, tmp_path: Path
) -> None:
    evidence, row = tmp_path / "event.tlog-proof", tmp_path / "event.entry"
    for seq in (1, 256, 257, 699, SIZE):
        evidence.write_text(proof.encode(proof.prove(Archive(archive.files), seq)), encoding="utf-8")
        row.write_bytes(entries(seq)[-1])
        assert verifier.accepts("event", evidence, row, archive.vkey) == f"entry {seq - 1} of {SIZE} accepted"
        row.write_bytes(entries(seq)[-1] + b" ")
        assert f"entry {seq - 1}" in verifier.refuses("event", evidence, row, archive.vkey)


def test_what_a_witness_is_asked_proves_that_the_log_goes_on(
    verifier: Verifier, archive: Sealed, tmp_path: Path
) -> None:
    held = Archive(archive.files)
    request = tmp_path / "request"
    for old in (1, 255, 256, 300, SEEN, SIZE):
        (note,) = write(tmp_path / f"past-{old}", entries(old), old)
        (tmp_path / "old").write_text(note, encoding="utf-8")
        path = tuple(consistency(old, SIZE, held.hash))
        asked = cosign.AddCheckpoint(old, path, held.checkpoint_note() or "")
        request.write_text(cosign.encode(asked), encoding="utf-8")
        arguments = ("goes-on", request, tmp_path / "old", archive.vkey)
        assert verifier.accepts(*arguments) == f"checkpoint of {SIZE} entries goes on from the old one"
        if path:
            wrong = cosign.AddCheckpoint(old, path[1:], asked.note)
            request.write_text(cosign.encode(wrong), encoding="utf-8")
            assert "history rewritten" in verifier.refuses(*arguments)


def alter(archive: Sealed, path: str, change: Callable[[bytearray], None]) -> None:
    data = bytearray(archive.files.read(path) or b"")
    change(data)
    archive.files.write(path, bytes(data))


def alter_rows(archive: Sealed, path: str, change: Callable[[list[bytes]], None]) -> None:
    rows = decode_bundle(archive.files.read(path) or b"", 256, path)
    change(rows)
    archive.files.write(path, encode_bundle(rows))


def flip(at: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        data[at] ^= 1

    return change


def swap(rows: list[bytes]) -> None:
    rows[10], rows[11] = rows[11], rows[10]


def drop(rows: list[bytes]) -> None:
    del rows[7]


def swap_hashes(data: bytearray) -> None:
    data[320:384] = data[352:384] + data[320:352]


def cut(data: bytearray) -> None:
    del data[-1:]


HARMS: dict[str, Callable[[Sealed], None]] = {
    "a flipped byte in an entry": lambda one: alter(one, "tile/entries/000", flip(90)),
    "a flipped byte in the last entries": lambda one: alter(one, "tile/entries/002.p/188", flip(-1)),
    "a flipped byte in a tile": lambda one: alter(one, "tile/0/001", flip(100)),
    "a flipped byte in the tile above": lambda one: alter(one, "tile/1/000.p/2", flip(0)),
    "a flipped letter in the checkpoint": lambda one: alter(one, CHECKPOINT, flip(len(ORIGIN) + 10)),
    "a dropped event": lambda one: alter_rows(one, "tile/entries/001", drop),
    "an event slipped in": lambda one: alter_rows(
        one, "tile/entries/001", lambda rows: rows.insert(7, rows[3])
    ),
    "a swapped pair": lambda one: alter_rows(one, "tile/entries/000", swap),
    "a swapped pair of hashes": lambda one: alter(one, "tile/0/000", swap_hashes),
    "a truncated tail": lambda one: alter(one, "tile/entries/002.p/188", cut),
    "a truncated tile": lambda one: alter(one, "tile/0/002.p/188", cut),
    "a missing tile": lambda one: one.files.remove("tile/0/001"),
    "a missing bundle": lambda one: one.files.remove("tile/entries/000"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_archive_is_refused(verifier: Verifier, archive: Sealed, harm: str) -> None:
    HARMS[harm](archive)
    assert verifier.refuses("archive", archive.root, archive.vkey)


def rewritten(rows: list[bytes]) -> list[bytes]:
    return [*rows[:99], rows[99].replace(b'"n":100', b'"n":999'), *rows[100:]]


HISTORIES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "one event altered": rewritten,
    "one event dropped": lambda rows: rows[:99] + rows[100:],
    "two events swapped": lambda rows: [*rows[:99], rows[100], rows[99], *rows[101:]],
    "one event slipped in": lambda rows: rows[:99] + rows[98:],
    "the first event dropped": lambda rows: rows[1:],
}


@pytest.mark.parametrize("history", HISTORIES)
def test_a_history_written_anew_with_the_logs_own_key_is_refused_by_whoever_kept_a_checkpoint(
    verifier: Verifier, archive: Sealed, tmp_path: Path, history: str
) -> None:
    """Without a kept checkpoint nobody can tell: that is what witnesses are for."""
    rows = HISTORIES[history](entries(SIZE + 1))
    root = tmp_path / "anew"
    write(root, rows, len(rows))
    assert verifier.accepts("archive", root, archive.vkey) == f"archive of {len(rows)} entries accepted"
    assert f"history rewritten since {SEEN} entries" in verifier.refuses(
        "archive", root, archive.vkey, archive.old
    )


def test_a_log_cut_back_to_an_older_state_is_refused_by_whoever_kept_a_later_checkpoint(
    verifier: Verifier, archive: Sealed, tmp_path: Path
) -> None:
    write(tmp_path / "cut", entries(300), 300)
    said = verifier.refuses("archive", tmp_path / "cut", archive.vkey, archive.old)
    assert f"cut: {SEEN} entries were sealed before, 300 are left" in said


def test_another_key_under_the_same_name_signs_for_nobody(verifier: Verifier, archive: Sealed) -> None:
    forger = Signer(ORIGIN, SigningKey(b"f" * 32))
    root = TileWriter(archive.files).frontier.root()
    archive.files.write(CHECKPOINT, signed(Checkpoint(ORIGIN, SIZE, root), forger).encode())
    assert "checkpoint" in verifier.refuses("archive", archive.root, archive.vkey)
