"""What verify says of an archive alone, and of an archive beside a checkpoint that somebody kept."""

import errno
import os
from pathlib import Path

import pytest

from events.bus.port import Stored
from events.tlog.checkpoint import Checkpoint, signed
from events.tlog.files import DirectoryFiles
from events.tlog.note import Verifier
from events.tlog.tiles import bundle_path
from replay.audit.verify import UnverifiableError, Verdict, verifier_of, verify
from tests.rules.archives import ORIGIN, SIGNER, STRANGER, MemoryFiles, messages, seal, sealed

KEY = Verifier.parse(SIGNER.vkey)
SIZE = 1000
"""Three full bundles and one of 232."""


@pytest.fixture(scope="module")
def whole() -> MemoryFiles:
    return sealed(messages(SIZE))


def verdicts(files: MemoryFiles, *others: tuple[str, str], events: bool = False) -> tuple[Verdict, Verdict]:
    integrity, completeness = verify(files, KEY, others, events=events).verdicts
    return integrity, completeness


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 512, 1000, 65_536, 66_000])
def test_an_archive_that_nobody_touched_is_sound_and_whole(size: int) -> None:
    verified = verify(sealed(messages(size)), KEY)
    assert verified.ok
    assert [verdict.trusted_to for verdict in verified.verdicts] == [size, size]
    assert (verified.size, verified.origin) == (size, ORIGIN)


def test_the_progress_ends_with_all_of_it(whole: MemoryFiles) -> None:
    told: list[tuple[int, int]] = []
    verify(whole, KEY, told=lambda done, total: told.append((done, total)))
    assert told == [(256, SIZE), (512, SIZE), (768, SIZE), (SIZE, SIZE)]


def test_an_altered_entry_is_named_and_all_before_it_is_trusted(whole: MemoryFiles) -> None:
    files = whole.copy()
    data = files.files["tile/entries/001"]
    files.alter("tile/entries/001", data.index(b"{300}"))
    integrity, completeness = verdicts(files)
    assert (integrity.code, integrity.first_bad_seq, integrity.trusted_to) == ("EntryAltered", 300, 299)
    assert integrity.says == "Entry 300 is not what was sealed. Entries 1 to 299 are as sealed."
    assert completeness.ok


def test_an_entry_of_which_the_tile_was_altered_to_fit_is_named_all_the_same(whole: MemoryFiles) -> None:
    files, other = whole.copy(), messages(SIZE)
    other[299] = Stored(300, other[299].stored_ns, other[299].subject, other[299].id, b"{slipped in}")
    forged = sealed(other)
    for path in ("tile/entries/001", "tile/0/001"):
        files.files[path] = forged.files[path]
    assert verdicts(files)[0].first_bad_seq == 257, "within the bundle nothing is proven any more"
    files.files["tile/1/000.p/3"] = forged.files["tile/1/000.p/3"]
    integrity = verdicts(files)[0]
    assert (integrity.ok, integrity.trusted_to) == (False, 0), "nothing here leads to the signed root"


@pytest.mark.parametrize(
    ("path", "seq"),
    [("tile/0/000", 1), ("tile/0/002", 513), ("tile/1/000.p/3", 1), ("tile/0/003.p/232", 769)],
)
def test_an_altered_tile_costs_no_event_its_proof(whole: MemoryFiles, path: str, seq: int) -> None:
    files = whole.copy()
    files.alter(path)
    integrity, completeness = verdicts(files)
    assert (integrity.code, integrity.first_bad_seq, integrity.trusted_to) == ("TileAltered", seq, SIZE)
    assert "all 1,000 are as sealed" in integrity.says
    assert completeness.ok


def test_a_tile_that_is_missing_costs_no_event_its_proof(whole: MemoryFiles) -> None:
    files = whole.copy()
    files.remove("tile/0/001")
    integrity = verdicts(files)[0]
    assert (integrity.code, integrity.first_bad_seq, integrity.trusted_to) == ("TileMissing", 257, SIZE)


def test_a_bundle_that_is_missing_fails_both_verdicts(whole: MemoryFiles) -> None:
    files = whole.copy()
    files.remove("tile/entries/002")
    integrity, completeness = verdicts(files)
    assert (integrity.code, integrity.first_bad_seq, integrity.trusted_to) == ("EntryMissing", 513, 512)
    assert (completeness.code, completeness.first_bad_seq) == ("EntryMissing", 513)


def test_a_bundle_that_was_cut_is_trusted_up_to_the_cut(whole: MemoryFiles) -> None:
    files = whole.copy()
    data = files.files["tile/entries/003.p/232"]
    files.files["tile/entries/003.p/232"] = data[: data.index(b"{800}") + 2]
    integrity, completeness = verdicts(files)
    assert (integrity.first_bad_seq, integrity.trusted_to) == (800, 799)
    assert (completeness.code, completeness.first_bad_seq) == ("EntryMissing", 800)


def test_two_entries_that_changed_places_are_named(whole: MemoryFiles) -> None:
    stored = messages(SIZE)
    stored[9], stored[10] = stored[10], stored[9]
    files = whole.copy()
    files.files["tile/entries/000"] = sealed(stored).files["tile/entries/000"]
    integrity = verdicts(files)[0]
    assert (integrity.code, integrity.first_bad_seq, integrity.trusted_to) == ("EntryMisplaced", 10, 9)


def test_an_entry_that_was_dropped_is_named(whole: MemoryFiles) -> None:
    files, stored = whole.copy(), messages(SIZE + 1)
    del stored[599]
    files.files["tile/entries/002"] = sealed(stored).files["tile/entries/002"]
    integrity = verdicts(files)[0]
    assert (integrity.first_bad_seq, integrity.trusted_to) == (600, 599)


def test_what_was_sealed_at_a_wrong_place_is_not_sound_although_its_root_is_signed() -> None:
    stored = messages(300)
    stored[49], stored[50] = stored[50], stored[49]
    integrity = verdicts(sealed(stored))[0]
    assert (integrity.code, integrity.first_bad_seq, integrity.trusted_to) == ("EntryMisplaced", 50, 49)


def test_bytes_behind_the_last_entry_are_seen(whole: MemoryFiles) -> None:
    files = whole.copy()
    files.files["tile/entries/003.p/232"] += b"\x00\x00"
    integrity = verdicts(files)[0]
    assert (integrity.code, integrity.trusted_to) == ("EntryLonger", SIZE)


def test_a_checkpoint_of_a_strange_key_is_not_believed(whole: MemoryFiles) -> None:
    files = MemoryFiles()
    seal(files, messages(SIZE), STRANGER)
    integrity, completeness = verdicts(files)
    assert (integrity.code, integrity.trusted_to) == ("CheckpointRefused", 0)
    assert not completeness.ok
    assert verify(files, verifier_of(files)).ok, (
        "with the key that lies beside it it fits itself, which proves nothing"
    )


def test_a_checkpoint_that_was_altered_is_not_believed(whole: MemoryFiles) -> None:
    files = whole.copy()
    files.files["checkpoint"] = files.files["checkpoint"].replace(b"\n1000\n", b"\n1001\n")
    assert verdicts(files)[0].code == "CheckpointRefused"


def test_an_archive_without_a_checkpoint_was_cut_short(whole: MemoryFiles) -> None:
    files = whole.copy()
    files.remove("checkpoint")
    integrity, completeness = verdicts(files)
    assert (integrity.code, completeness.code) == ("CheckpointMissing", "CheckpointMissing")
    assert "cut short" in integrity.says


def test_an_older_checkpoint_that_somebody_kept_is_of_this_history() -> None:
    files = MemoryFiles()
    kept = seal(files, messages(300))
    seal(files, messages(SIZE - 300, 301))
    completeness = verdicts(files, ("kept", kept))[1]
    assert completeness.ok
    assert (
        completeness.says
        == "All 1,000 sequences of the checkpoint are here, and so is the checkpoint of 300 events."
    )


def test_a_history_that_was_rewritten_and_signed_again_does_not_agree_with_a_kept_checkpoint() -> None:
    files, stored = MemoryFiles(), messages(SIZE)
    early = seal(files, stored[:100])
    late = seal(files, stored[100:300])
    stored[199] = Stored(200, stored[199].stored_ns, stored[199].subject, stored[199].id, b"{rewritten}")
    integrity, completeness = verdicts(sealed(stored), ("early", early), ("late", late))
    assert integrity.ok, "it fits itself"
    assert (completeness.code, completeness.trusted_to) == ("HistoryDiffers", 100)
    assert "somewhere from sequence 101 to 300 another history was sealed" in completeness.says


def test_an_archive_that_ends_before_a_kept_checkpoint_is_not_complete() -> None:
    files = MemoryFiles()
    seal(files, messages(300))
    older = files.copy()
    newer = seal(files, messages(100, 301))
    integrity, completeness = verdicts(older, ("witness", newer))
    assert integrity.ok
    assert (completeness.code, completeness.first_bad_seq, completeness.trusted_to) == ("EndsEarly", 301, 300)
    assert "100 are not here" in completeness.says


def test_a_kept_checkpoint_that_is_none_is_refused_in_a_sentence(whole: MemoryFiles) -> None:
    with pytest.raises(UnverifiableError, match="The checkpoint kept is not believed"):
        verdicts(whole, ("kept", "hello\n"))


def test_a_key_that_is_none_is_refused_in_a_sentence(whole: MemoryFiles) -> None:
    files = whole.copy()
    files.remove("vkey")
    with pytest.raises(UnverifiableError, match="name the one that you trust with --vkey"):
        verifier_of(files)
    files.write("vkey", b"no key\n")
    with pytest.raises(UnverifiableError, match="there is no verifier key"):
        verifier_of(files)


def test_a_wider_file_of_an_archive_that_grew_meanwhile_does_as_well() -> None:
    files = MemoryFiles()
    seal(files, messages(300))
    small = dict(files.files)
    seal(files, messages(300, 301))
    for path in ("checkpoint", "tile/1/000.p/1"):
        files.files[path] = small[path]
    for path in [path for path in files.files if path.endswith("001.p/44")]:
        files.remove(path)
    assert verify(files, KEY).ok


def test_an_entry_that_is_no_event_is_named_when_events_are_read(whole: MemoryFiles) -> None:
    integrity = verdicts(whole, events=True)[0]
    assert (integrity.code, integrity.first_bad_seq, integrity.trusted_to) == ("EventUnreadable", 1, SIZE)


def test_messages_that_no_pen_wrote_are_counted_and_are_no_fault() -> None:
    noise = [Stored(one.seq, one.stored_ns, one.subject, "", b"{}") for one in messages(5)]
    integrity = verdicts(sealed(noise), events=True)[0]
    assert integrity.ok
    assert "5 were written by no pen" in integrity.says


class Unreadable(MemoryFiles):
    """A disk that does not give one of its files."""

    broken = "tile/entries/001"

    def read(self, path: str) -> bytes | None:
        if path == self.broken:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(path)


def test_what_the_disk_does_not_give_counts_as_missing(whole: MemoryFiles) -> None:
    files = Unreadable(whole.files)
    integrity, completeness = verdicts(files)
    assert (integrity.code, integrity.first_bad_seq, integrity.trusted_to) == ("EntryMissing", 257, 256)
    assert "tile/entries/001 cannot be read: Input/output error." in completeness.says
    files.broken = "checkpoint"
    assert verdicts(files)[0].says == "The checkpoint cannot be read: Input/output error."


def test_a_tile_above_that_goes_on_behind_its_end_is_seen(whole: MemoryFiles) -> None:
    files = whole.copy()
    files.files["tile/1/000.p/3"] += bytes(32)
    assert verdicts(files)[0].code == "TileAltered"


@pytest.mark.parametrize("size", [9_000_000_000_000_000_000, 2**63 - 1, 10**9])
def test_a_checkpoint_of_more_events_than_there_can_be_is_answered_at_once(
    whole: MemoryFiles, size: int
) -> None:
    files, looked = Counting(whole.files), 4000
    files.write("checkpoint", signed(Checkpoint(ORIGIN, size, bytes(32)), SIGNER).encode())
    integrity, completeness = verdicts(files, ("kept", whole.files["checkpoint"].decode()))
    assert (integrity.ok, integrity.trusted_to) == (False, 0)
    assert (completeness.code, completeness.first_bad_seq) == ("EntryMissing", 769)
    assert "at least" in integrity.says
    assert files.reads < looked


def test_many_bundles_that_are_missing_hide_nothing_of_what_is_proven_before_them() -> None:
    files = sealed(messages(1100 * 256 + 5))
    for bundle in range(1030):
        files.remove(bundle_path(bundle + 30))
    integrity, completeness = verdicts(files)
    assert (integrity.code, integrity.first_bad_seq, integrity.trusted_to) == ("EntryMissing", 7681, 7680)
    assert (completeness.code, completeness.first_bad_seq) == ("EntryMissing", 7681)


class Counting(MemoryFiles):
    """How often a file was asked for."""

    reads = 0

    def read(self, path: str) -> bytes | None:
        self.reads += 1
        return super().read(path)


def test_a_file_that_is_too_long_to_be_one_of_an_archive_is_a_verdict_or_a_sentence(
    whole: MemoryFiles, tmp_path: Path
) -> None:
    files = DirectoryFiles(tmp_path)
    for path, data in whole.files.items():
        files.write(path, data)
    os.truncate(tmp_path / "tile/entries/001", 3 << 30)
    integrity = verify(files, KEY).verdicts[0]
    assert (integrity.code, integrity.first_bad_seq) == ("EntryMissing", 257)
    assert "tile/entries/001 cannot be read: File too large." in integrity.says
    for path in ("checkpoint", "vkey"):
        os.truncate(tmp_path / path, 3 << 30)
    assert verify(files, KEY).verdicts[0].says == "The checkpoint cannot be read: File too large."
    with pytest.raises(UnverifiableError, match=r"vkey cannot be read: File too large\. Name the key"):
        verifier_of(files)
