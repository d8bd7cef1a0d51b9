"""The evidence of one event, and the cosignature of a witness: what they prove, and what they refuse to."""

import dataclasses

import pytest
from nacl.signing import SigningKey

from events.tlog import cosign, proof
from events.tlog.checkpoint import Checkpoint, opened, signed
from events.tlog.cosign import AddCheckpoint, Cosigner, CosignVerifier, cosigned_at, with_cosignatures
from events.tlog.leaf import entry, leaf_hash
from events.tlog.note import NoteError, Signer, Verifier, open_note, parse_signatures, split
from events.tlog.proof import Proof, ProofError
from events.tlog.reader import Archive
from events.tlog.tree import Frontier, consistency
from tests.archive_files import ORIGIN, SIGNER, archive_of, entries, message

SIZE = 300
ARCHIVE = Archive(archive_of(SIZE))
ENTRY = entry(message(280))
PROOF = proof.prove(ARCHIVE, 280)
WITNESS = Cosigner("witness.example/w1", SigningKey(b"w" * 32))
NOW = 1_763_802_000


def test_a_proof_as_text_is_what_c2sp_describes() -> None:
    lines = proof.encode(PROOF).split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 279"]
    blank = lines.index("")
    assert all(len(line) == 44 for line in lines[2:blank])
    assert lines[blank + 1 : blank + 3] == [ORIGIN, "300"]


def test_every_event_is_proven_with_the_public_key_alone() -> None:
    for seq in range(1, SIZE + 1):
        text = proof.encode(proof.prove(ARCHIVE, seq))
        proven = proof.check(proof.parse(text), entry(message(seq)), Verifier.parse(SIGNER.vkey))
        assert (proven.origin, proven.size) == (ORIGIN, SIZE)


def test_the_only_event_of_a_log_has_a_proof_of_no_steps() -> None:
    alone = proof.parse(proof.encode(proof.prove(Archive(archive_of(1)), 1)))
    assert alone.path == ()
    assert proof.check(alone, entry(message(1)), SIGNER.verifier).size == 1


def test_data_that_goes_along_is_kept_and_proves_nothing() -> None:
    more = proof.parse(proof.encode(dataclasses.replace(PROOF, extra=b"\0along")))
    assert more.extra == b"\0along"
    assert proof.check(more, ENTRY, SIGNER.verifier).size == SIZE


@pytest.mark.parametrize(
    ("altered", "of"),
    [
        (PROOF, entry(message(281))),
        (PROOF, ENTRY[:-1]),
        (dataclasses.replace(PROOF, index=278), ENTRY),
        (dataclasses.replace(PROOF, index=SIZE), ENTRY),
        (dataclasses.replace(PROOF, path=PROOF.path[:-1]), ENTRY),
        (dataclasses.replace(PROOF, path=(*PROOF.path, bytes(32))), ENTRY),
        (dataclasses.replace(PROOF, path=PROOF.path[::-1]), ENTRY),
        (dataclasses.replace(PROOF, path=(bytes(32), *PROOF.path[1:])), ENTRY),
    ],
)
def test_an_altered_proof_proves_nothing(altered: Proof, of: bytes) -> None:
    with pytest.raises(ProofError, match=r"is not the one that ledger.example/east has at index") as refused:
        proof.check(altered, of, SIGNER.verifier)
    assert refused.value.code == "ProofRefused"


def test_a_proof_under_another_key_or_a_forged_checkpoint_is_refused() -> None:
    with pytest.raises(NoteError):
        proof.check(PROOF, ENTRY, Signer(ORIGIN, SigningKey(b"x" * 32)).verifier)
    forged = dataclasses.replace(PROOF, note=PROOF.note.replace("\n300\n", "\n301\n"))
    with pytest.raises(NoteError, match="does not fit its text"):
        proof.check(forged, ENTRY, SIGNER.verifier)


def test_an_event_that_is_not_sealed_yet_has_no_proof() -> None:
    for archive, seq in ((ARCHIVE, SIZE + 1), (ARCHIVE, 0), (Archive(archive_of(1)), 2)):
        with pytest.raises(ProofError, match="has no proof yet"):
            proof.prove(archive, seq)


@pytest.mark.parametrize("row", [entry(message(3)), b"no event"])
def test_a_log_that_signs_an_entry_in_another_ones_place_is_found_out(row: bytes) -> None:
    frontier = Frontier()
    frontier.add(leaf_hash(row))
    lie = Proof(0, (), signed(Checkpoint(ORIGIN, 1, frontier.root()), SIGNER))
    with pytest.raises(ProofError, match=r"not in order|is no event"):
        proof.check(lie, row, SIGNER.verifier)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c2sp.org/tlog-proof@v2\nindex 1\n\nx",
        "c2sp.org/tlog-proof@v1\nindex 1\n",
        "c2sp.org/tlog-proof@v1\n\nx",
        "c2sp.org/tlog-proof@v1\nextra !\nindex 1\n\nx",
        "c2sp.org/tlog-proof@v1\nindex 01\n\nx",
        "c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\nx",
        "c2sp.org/tlog-proof@v1\nindex 1\n" + f"{'A' * 43}=\n" * 64 + "\nx",
    ],
)
def test_what_is_no_proof_is_not_read_as_one(text: str) -> None:
    with pytest.raises(ProofError):
        proof.parse(text)


def test_a_witness_is_asked_as_c2sp_describes_and_reads_what_was_asked() -> None:
    note = ARCHIVE.checkpoint_note() or ""
    asked = AddCheckpoint(256, tuple(consistency(256, SIZE, ARCHIVE.hash)), note)
    body = cosign.encode(asked)
    assert body.startswith("old 256\n")
    assert cosign.parse(body) == asked
    first = AddCheckpoint(0, (), note)
    assert cosign.encode(first) == f"old 0\n\n{note}"
    assert cosign.parse(cosign.encode(first)) == first


@pytest.mark.parametrize(
    "body",
    [
        "",
        "old 1",
        "old x\n\nn",
        "new 1\n\nn",
        "old 01\n\nn",
        "old 1\nAAAA\n\nn",
        "old 1\n" + f"{'A' * 43}=\n" * 64 + "\nn",
    ],
)
def test_what_asks_for_no_cosignature_is_refused(body: str) -> None:
    with pytest.raises(NoteError):
        cosign.parse(body)


def test_a_cosignature_goes_under_the_checkpoint_and_says_when() -> None:
    note = ARCHIVE.checkpoint_note() or ""
    text, _ = split(note)
    answer = WITNESS.sign(text, NOW).line
    witness = CosignVerifier.parse(WITNESS.verifier.vkey)
    whole = with_cosignatures(note, parse_signatures(answer), [witness])
    found = open_note(whole, (SIGNER.verifier, witness))
    assert [one.name for one in found.verified] == [ORIGIN, "witness.example/w1"]
    assert cosigned_at(found.verified[1]) == NOW
    assert opened(whole, SIGNER.verifier).size == SIZE
    assert with_cosignatures(whole, parse_signatures(answer * 2), [witness]) == whole
    later = WITNESS.sign(text, NOW + 60)
    assert open_note(with_cosignatures(whole, [later], [witness]), (witness,)).verified == (later,)
    with pytest.raises(NoteError, match=r"signed twice by witness.example/w1"):
        open_note(whole + later.line, (witness,))


def test_nothing_under_a_note_is_replaced_by_what_its_key_did_not_sign() -> None:
    text, (own,) = split(ARCHIVE.checkpoint_note() or "")
    good, other = WITNESS.sign(text, NOW), Cosigner("witness.example/w2", SigningKey(bytes(32)))
    whole = with_cosignatures(ARCHIVE.checkpoint_note() or "", [good], [WITNESS.verifier])
    forged = [
        dataclasses.replace(good, raw=bytes(72)),
        dataclasses.replace(good, raw=bytes(3000)),
        dataclasses.replace(own, raw=bytes(64)),
        WITNESS.sign(text.replace("300", "301"), NOW),
        other.sign(text, NOW),  # by nobody who was asked for
    ]
    assert with_cosignatures(whole, forged, [WITNESS.verifier]) == whole
    for one in forged:
        assert with_cosignatures(whole, [one], [WITNESS.verifier]) == whole
    assert len(open_note(whole, (SIGNER.verifier, WITNESS.verifier)).verified) == 2


def test_a_cosignature_with_another_time_or_text_is_refused() -> None:
    text, _ = split(ARCHIVE.checkpoint_note() or "")
    good = WITNESS.sign(text, NOW)
    later = dataclasses.replace(good, raw=(NOW + 1).to_bytes(8, "big") + good.raw[8:])
    assert WITNESS.verifier.verify(text, good)
    assert not WITNESS.verifier.verify(text, later)
    assert not WITNESS.verifier.verify(text.replace("300", "301"), good)
    assert not WITNESS.verifier.verify(text, dataclasses.replace(good, raw=good.raw[8:]))
    with pytest.raises(NoteError, match="gives no time"):
        cosigned_at(SIGNER.sign(text))


def test_the_vector_of_the_c2sp_document_is_a_cosignature_of_its_time() -> None:
    (line,) = parse_signatures(
        "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+"
        "mbIUBkBIfZ+qnA==\n"
    )
    assert cosigned_at(line) == 1_679_315_147


def test_a_witness_key_and_a_log_key_are_not_taken_for_each_other() -> None:
    with pytest.raises(NoteError, match="not of type 0x01"):
        Verifier.parse(WITNESS.verifier.vkey)
    with pytest.raises(NoteError, match="not of type 0x04"):
        CosignVerifier.parse(SIGNER.vkey)


def test_an_archive_gives_the_proofs_of_what_it_sealed_only() -> None:
    assert list(ARCHIVE.entries(1, SIZE)) == entries(SIZE)
