"""Signed notes and checkpoints: what opens one, and what never does."""

import base64

import pytest
from nacl.signing import SigningKey

from events.tlog.checkpoint import Checkpoint, opened, parse, signed
from events.tlog.note import MOST_SIGNATURES, NoteError, Signer, Verifier, open_note, seal, split
from events.tlog.tree import EMPTY_ROOT
from tests.archive_files import ORIGIN, SIGNER

OTHER = Signer("witness.example/w1", SigningKey(b"o" * 32))
TEXT = "first\n\nsecond è\n"
NOTE = seal(TEXT, [SIGNER.sign(TEXT), OTHER.sign(TEXT)])


def refused(note: str | bytes, *verifiers: Verifier) -> str:
    with pytest.raises(NoteError) as error:
        open_note(note, verifiers or (SIGNER.verifier,))
    assert error.value.code == "NoteRefused"
    return str(error.value)


def test_the_vector_of_the_go_package_opens() -> None:
    """From the documentation of golang.org/x/mod/sumdb/note."""
    vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    text = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
    )
    signature = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    note = f"{text}\n— PeterNeumann {signature}\n"
    assert open_note(note, (Verifier.parse(vkey),)).text == text
    assert Verifier.parse(vkey).vkey == vkey


def test_a_note_opens_with_any_key_that_signed_it() -> None:
    for signer in (SIGNER, OTHER):
        note = open_note(NOTE, (signer.verifier,))
        assert note.text == TEXT
        assert [one.name for one in note.verified] == [signer.name]
        assert [one.name for one in note.signatures] == [SIGNER.name, OTHER.name]
    assert len(open_note(NOTE.encode(), (SIGNER.verifier, OTHER.verifier)).verified) == 2


def test_a_key_survives_being_written_as_a_line() -> None:
    assert Verifier.parse(SIGNER.vkey + "\n").key_id == SIGNER.verifier.key_id
    assert open_note(NOTE, (Verifier.parse(SIGNER.vkey),)).text == TEXT


def test_any_flipped_letter_of_the_text_refuses_the_note() -> None:
    for at, letter in enumerate(TEXT):
        if letter != "\n":
            flipped = TEXT[:at] + chr(ord(letter) ^ 1) + TEXT[at + 1 :]
            assert "does not fit its text" in refused(NOTE.replace(TEXT, flipped))


def test_a_signature_of_a_known_key_that_does_not_fit_refuses_the_note_though_another_fits() -> None:
    wrong = seal(TEXT, [SIGNER.sign(TEXT), OTHER.sign("else\n")])
    assert "witness.example/w1" in refused(wrong, SIGNER.verifier, OTHER.verifier)
    assert open_note(wrong, (SIGNER.verifier,)).text == TEXT


def test_a_note_of_strangers_names_who_signed_and_who_was_asked_for() -> None:
    stranger = Signer(ORIGIN, SigningKey(b"s" * 32))
    sentence = refused(seal(TEXT, [stranger.sign(TEXT)]))
    assert stranger.verifier.key_id.hex() in sentence
    assert SIGNER.verifier.key_id.hex() in sentence
    with pytest.raises(NoteError, match="by nobody was asked for"):
        open_note(NOTE, ())


@pytest.mark.parametrize(
    ("note", "why"),
    [
        ("", "no blank line"),
        (TEXT, "where a signature should"),
        (NOTE[:-1], "no blank line"),
        (NOTE[:-3] + "\n", "no base64"),
        (NOTE.replace("\n\n— ", "\n\n- "), "where a signature should"),
        (NOTE.replace("first", "fir\tst"), "control characters"),
        (NOTE.encode().replace(b"first", b"\xff"), "no UTF-8"),
        (f"{TEXT}\n— {ORIGIN} AAAA\n", "too short"),
        (f"{TEXT}\n— two names AAAAAAAA\n", "where a signature should"),
        (f"{TEXT}\n— a+b AAAAAAAA\n", "cannot be named"),
        (seal(TEXT, [SIGNER.sign(TEXT)] * (MOST_SIGNATURES + 1)), "signatures is not read"),
        ("x" * 1_000_001, "is not read"),
    ],
)
def test_what_is_no_note_says_what_it_lacks(note: str | bytes, why: str) -> None:
    assert why in refused(note)


def test_base64_that_decodes_alike_but_is_written_otherwise_is_refused() -> None:
    line = SIGNER.sign(TEXT).line
    assert line.endswith("=\n")
    last = line[-3]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    twin = line[:-3] + letters[letters.index(last) + 1] + "=\n"
    first, second = (base64.b64decode(one.split(" ")[2]) for one in (line, twin))
    assert first == second
    assert "no base64" in refused(f"{TEXT}\n{twin}")


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        SIGNER.vkey.replace("ledger", "legder"),
        SIGNER.vkey[:-4],
        SIGNER.vkey.replace("+A", "+B", 1),
        f"a b+{SIGNER.vkey.split('+', 1)[1]}",
    ],
)
def test_a_mistyped_public_key_is_refused(vkey: str) -> None:
    with pytest.raises(NoteError):
        Verifier.parse(vkey)


def test_a_key_with_a_space_or_a_plus_in_its_name_is_not_made() -> None:
    for name in ("", "a b", "a+b", "a\u00a0b", "a\nb"):
        with pytest.raises(NoteError, match="cannot be named"):
            Signer(name, SigningKey(b"k" * 32))


def test_a_text_without_its_last_line_feed_is_not_signed() -> None:
    with pytest.raises(NoteError, match="ends with a line feed"):
        seal("text", [SIGNER.sign("text")])


def test_a_checkpoint_is_three_lines_and_opens_with_the_key_of_its_log() -> None:
    checkpoint = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert checkpoint.text == f"{ORIGIN}\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    note = signed(checkpoint, SIGNER)
    assert opened(note, SIGNER.verifier) == checkpoint
    assert split(note)[0] == checkpoint.text


def test_lines_of_others_in_a_checkpoint_are_kept_and_signed() -> None:
    checkpoint = Checkpoint(ORIGIN, 5, bytes(32), ("more", "and more"))
    assert opened(signed(checkpoint, SIGNER), SIGNER.verifier) == checkpoint


def test_a_key_signs_for_no_other_log_and_opens_no_other_logs_checkpoint() -> None:
    foreign = Checkpoint("ledger.example/west", 5, bytes(32))
    with pytest.raises(NoteError, match=r"does not sign for ledger.example/west"):
        signed(foreign, SIGNER)
    with pytest.raises(NoteError, match=r"is of ledger.example/west, but the key is of ledger.example/east"):
        opened(seal(foreign.text, [SIGNER.sign(foreign.text)]), SIGNER.verifier)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "o\n",
        "o\n5\n",
        f"o\n05\n{'A' * 43}=\n",
        f"o\n-5\n{'A' * 43}=\n",
        f"o\n\n{'A' * 43}=\n",
        f"o\n\u0665\n{'A' * 43}=\n",
        f"o\n{'9' * 25}\n{'A' * 43}=\n",
        "o\n5\nAAAA\n",
        "o\n5\n!!!!\n",
        f"\n5\n{'A' * 43}=\n",
        f"o\n5\n{'A' * 43}=\n\nmore\n",
        f"o\n5\n{'A' * 43}=",
    ],
)
def test_what_is_no_checkpoint_is_not_read_as_one(text: str) -> None:
    with pytest.raises(NoteError):
        parse(text)
