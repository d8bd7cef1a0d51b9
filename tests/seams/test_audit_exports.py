"""A ledger handed out: exports that are whole, cut short, resumed, in the way; proofs that hold and that do not."""

import shutil
import sys
from pathlib import Path

import msgspec
import pytest

from events.tlog.files import DirectoryFiles
from events.tlog.note import Verifier
from replay.audit.export import ExportRefusedError, export
from replay.audit.tarred import PlaceError, files_at
from replay.audit.verify import verify
from tests.rules.archives import SIGNER, STRANGER, MemoryFiles, messages, seal, sealed
from tests.seams.house import ROOT, Done, run

KEY = Verifier.parse(SIGNER.vkey)
SIZE = 1000
SOON_SECONDS = 20.0


@pytest.fixture(scope="module")
def whole() -> MemoryFiles:
    return sealed(messages(SIZE))


def everything(directory: Path) -> dict[str, bytes]:
    files = DirectoryFiles(directory)
    return {path: files.read(path) or b"" for path in files.listed("")}


@pytest.mark.parametrize("name", ["copy", "copy.tar"])
def test_an_export_verifies_and_carries_key_schemas_and_a_description(
    whole: MemoryFiles, tmp_path: Path, name: str
) -> None:
    done = export(whole, KEY, tmp_path / name)
    assert (done.size, done.kept) == (SIZE, 0)
    with files_at(tmp_path / name) as files:
        assert verify(files, KEY).ok
        assert files.read("vkey") == f"{SIGNER.vkey}\n".encode()
        assert "1,000 events of the log `ledger.example.net/one`" in (files.read("README.md") or b"").decode()
        assert msgspec.json.decode(files.read("schemas/gate.decided.v1.json") or b"")["$id"]
        assert {path: files.read(path) for path in files.listed("tile")} == {
            path: whole.read(path) for path in whole.listed("tile")
        }


class Cut(Exception):
    """The run is interrupted here."""


class CutFiles(MemoryFiles):
    """Files of which so many can be read."""

    def __init__(self, files: dict[str, bytes], left: int) -> None:
        super().__init__(files)
        self.left = left

    def read(self, path: str) -> bytes | None:
        self.left -= 1
        if self.left < 0:
            raise Cut
        return super().read(path)


@pytest.mark.parametrize("name", ["copy", "copy.tar"])
def test_an_export_that_was_cut_short_is_known_for_one_and_the_next_run_goes_on(
    whole: MemoryFiles, tmp_path: Path, name: str
) -> None:
    target = tmp_path / name
    whole_run = export(whole, KEY, tmp_path / f"other-{name}")
    for left in range(1, 10):
        with pytest.raises(Cut):
            export(CutFiles(whole.files, left), KEY, target)
        part = target if name == "copy" else tmp_path / "copy.tar.part"
        with files_at(part) as files:
            said = verify(files, KEY).verdicts[0]
        assert (said.ok, said.code) == (False, "CheckpointMissing")
        assert "cut short" in said.says
    done = export(whole, KEY, target)
    assert done.kept > 0
    assert done.files == whole_run.files
    with files_at(target) as files:
        assert verify(files, KEY).ok
    assert list(tmp_path.glob("*.part")) == []


def test_a_tar_that_lost_its_end_is_known_for_one_and_the_next_run_goes_on(
    whole: MemoryFiles, tmp_path: Path
) -> None:
    target, part = tmp_path / "copy.tar", tmp_path / "copy.tar.part"
    export(whole, KEY, target)
    data = target.read_bytes()
    for length in range(1, len(data) - 12_000, 37_777):
        part.write_bytes(data[:length])
        try:
            with files_at(part) as files:
                assert not verify(files, KEY).ok
        except PlaceError:
            assert length < 2 * 512, "not even the first file is whole"
        export(whole, KEY, target)
        assert target.read_bytes() == data


def test_a_run_after_more_was_sealed_brings_the_directory_up_to_it(tmp_path: Path) -> None:
    files, stored = MemoryFiles(), messages(2_000)
    target = tmp_path / "copy"
    seal(files, stored[:300])
    export(files, KEY, target)
    seal(files, stored[300:])
    done = export(files, KEY, target)
    assert done.kept > 0
    assert verify(DirectoryFiles(target), KEY).ok
    fresh = tmp_path / "fresh"
    export(files, KEY, fresh)
    assert everything(target) == everything(fresh), "no partial tile of the earlier export is left"


def test_what_is_in_the_way_is_refused_and_stays(whole: MemoryFiles, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    with pytest.raises(ExportRefusedError, match="holds other files"):
        export(whole, KEY, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter"]
    with pytest.raises(ExportRefusedError, match="is a file"):
        export(whole, KEY, tmp_path / "mine" / "letter")
    strange = MemoryFiles()
    seal(strange, messages(10), STRANGER)
    export(strange, STRANGER.verifier, tmp_path / "strange")
    with pytest.raises(ExportRefusedError, match="another ledger, or of another key"):
        export(whole, KEY, tmp_path / "strange")
    export(whole, KEY, tmp_path / "newer")
    with pytest.raises(ExportRefusedError, match="the archive is the older one"):
        export(sealed(messages(10)), KEY, tmp_path / "newer")


def test_a_tar_that_is_in_the_way_is_refused_and_stays(whole: MemoryFiles, tmp_path: Path) -> None:
    target = tmp_path / "copy.tar"
    strange = MemoryFiles()
    seal(strange, messages(10), STRANGER)
    for held, sentence in [
        (strange, "another ledger, or of another key"),
        (sealed(messages(SIZE + 1)), "the archive is the older one"),
    ]:
        target.unlink(missing_ok=True)
        export(held, STRANGER.verifier if held is strange else KEY, target)
        before = target.read_bytes()
        with pytest.raises(ExportRefusedError, match=sentence):
            export(whole, KEY, target)
        assert target.read_bytes() == before
    target.write_text("dear")
    with pytest.raises(ExportRefusedError, match="is no export"):
        export(whole, KEY, target)
    assert target.read_text() == "dear"
    target.write_bytes(b"")
    export(sealed(messages(10)), KEY, target)
    assert export(whole, KEY, target).size == SIZE


def test_an_exported_tile_that_was_altered_is_not_written_over(whole: MemoryFiles, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    export(whole, KEY, target)
    tile = target / "tile" / "entries" / "001"
    tile.write_bytes(b"\7" + tile.read_bytes()[1:])
    altered = tile.read_bytes()
    with pytest.raises(
        ExportRefusedError, match="tile/entries/001 is there and is not what the archive holds"
    ):
        export(whole, KEY, target)
    assert tile.read_bytes() == altered


def test_an_archive_that_lacks_a_file_is_not_exported_as_if_it_were_whole(
    whole: MemoryFiles, tmp_path: Path
) -> None:
    files = whole.copy()
    files.remove("tile/entries/002")
    with pytest.raises(
        ExportRefusedError, match=r"There is no file tile/entries/002. The archive is damaged"
    ):
        export(files, KEY, tmp_path / "copy")
    assert not (tmp_path / "copy" / "checkpoint").exists()


def test_an_archive_that_grows_while_it_is_copied_is_exported_as_it_was(tmp_path: Path) -> None:
    files, stored = MemoryFiles(), messages(600)
    seal(files, stored[:300])
    note = files.files["checkpoint"]
    seal(files, stored[300:])
    for path in [path for path in files.files if ".p/44" in path]:
        files.remove(path)
    files.files |= {"checkpoint": note, "tile/1/000.p/1": files.files["tile/1/000.p/2"][:32]}
    assert export(files, KEY, tmp_path / "copy").size == 300
    assert verify(DirectoryFiles(tmp_path / "copy"), KEY).ok
    assert len((tmp_path / "copy" / "tile" / "0" / "001.p" / "44").read_bytes()) == 32 * 44


# ------------------------------------------------------------------------------------------------- the commands


@pytest.fixture(scope="module")
def handed(whole: MemoryFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("handed") / "copy"
    export(whole, KEY, target)
    return target


async def virtscale(*words: str, house: Path = Path("nowhere")) -> Done:
    return await run(
        Path(sys.executable).with_name("virtscale"), *words, house=house, deadline_seconds=SOON_SECONDS
    )


async def test_verify_says_two_verdicts_and_ends_with_one_for_a_damaged_export(
    handed: Path, tmp_path: Path
) -> None:
    done = await virtscale("ledger", "verify", "--from", str(handed), "-o", "json")
    assert done.code == 0
    assert [(row["verdict"], row["ok"], row["trusted_to"]) for row in done.rows()] == [
        ("integrity", True, SIZE),
        ("completeness", True, SIZE),
    ]
    assert "name the one that you know to be the operator's" in done.err
    hurt = tmp_path / "hurt"
    shutil.copytree(handed, hurt)
    tile = hurt / "tile" / "entries" / "000"
    tile.write_bytes(tile.read_bytes().replace(b"{7}", b"{8}"))
    done = await virtscale("ledger", "verify", "--from", str(hurt), "--vkey", str(handed / "vkey"))
    assert done.code == 1
    assert "archive  integrity     EntryAltered  6           7" in done.out


@pytest.mark.parametrize("name", ["copy", "copy.tar"])
async def test_a_disk_that_is_full_is_said_and_the_next_run_goes_on(
    whole: MemoryFiles, tmp_path: Path, name: str
) -> None:
    source = tmp_path / "source"
    export(whole, KEY, source)
    words = ("ledger", "export", str(tmp_path / name), "--from", str(source))
    program = str(Path(sys.executable).with_name("virtscale"))
    # No file may grow past so many bytes: the error is another than a full disk's, its place and its handling are not.
    done = await run(Path("/usr/bin/prlimit"), "--fsize=20000", program, *words, house=tmp_path)
    assert done.code == 1
    assert "What was written stays" in done.err
    assert "[ExportRefused]" in done.err
    assert "Traceback" not in done.err
    assert export(DirectoryFiles(source), KEY, tmp_path / name).kept > 0


async def test_a_checkpoint_that_somebody_kept_is_compared(handed: Path, tmp_path: Path) -> None:
    longer = tmp_path / "kept"
    longer.write_text(seal(MemoryFiles(), messages(SIZE + 1)))
    done = await virtscale("ledger", "verify", "--from", str(handed), "--checkpoint", str(longer))
    assert done.code == 1
    assert "of 1,001 events: 1 are not here" in done.out


async def test_a_proof_holds_offline_and_an_altered_entry_does_not(handed: Path, tmp_path: Path) -> None:
    done = await virtscale("ledger", "prove", "777", "--from", str(handed), "--to", str(tmp_path))
    assert done.code == 0
    proof, entry = tmp_path / "777.tlog-proof", tmp_path / "777.entry"
    check = ("ledger", "check-proof", str(proof), "--vkey", str(handed / "vkey"))
    done = await virtscale(*check, "-o", "json")
    assert done.code == 0
    assert (done.rows()[0]["seq"], done.rows()[0]["of"], done.rows()[0]["id"]) == (777, SIZE, f"{777:032x}")
    entry.write_bytes(entry.read_bytes().replace(b"{777}", b"{778}"))
    done = await virtscale(*check)
    assert (done.code, done.out) == (1, "")
    assert "[ProofRefused]" in done.err


async def test_a_proof_of_nothing_is_refused_in_a_sentence(handed: Path, tmp_path: Path) -> None:
    for asked, says in [
        ("1001", "The archive holds events 1 to 1,000; there is no 1001."),
        ("f" * 32, "no id begins with ffff"),
    ]:
        done = await virtscale("ledger", "prove", asked, "--from", str(handed), "--to", str(tmp_path))
        assert (done.code, says in done.err) == (5, True), done.err
    assert list(tmp_path.iterdir()) == []


async def test_what_is_no_archive_is_refused_in_a_sentence(tmp_path: Path) -> None:
    done = await virtscale("ledger", "verify", "--from", str(tmp_path / "absent"))
    assert (done.code, "[ExportUnreadable]" in done.err) == (1, True)
    with pytest.raises(PlaceError, match="is no tar"), files_at(ROOT / "README.md"):
        pass
    done = await virtscale("ledger", "verify", "--from", str(tmp_path), "--vkey", str(ROOT / "README.md"))
    assert (done.code, "[Unverifiable]" in done.err) == (1, True)
