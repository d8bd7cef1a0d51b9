"""`virtscale ledger export`, `prove` and `check-proof`: the ledger, or one event of it, for somebody else."""

import datetime as dt
import os
from pathlib import Path

from events.sentences import sentence
from events.tlog import proof
from events.tlog.files import DirectoryFiles
from events.tlog.note import Verifier
from events.tlog.proof import ProofError
from events.tlog.reader import Archive
from replay.audit.export import export
from replay.audit.proofs import NotFoundError, find, tell
from replay.audit.verify import verifier_of
from schemas.house import HouseError
from virtscale.audit.places import archive_of, key_of, named_key
from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND
from virtscale.invocation import UsageError, present_house
from virtscale.progress import Progress
from virtscale.show import Format, say, show


def show_export(target: Path, export_from: Path | None, form: Format) -> int:
    """The export, and what it holds; the exit code."""
    with archive_of(export_from) as (files, _), Progress("export") as told:
        done = export(files, verifier_of(files), target, told)
    row: dict[str, object] = {
        "target": os.path.relpath(target),
        "origin": done.origin,
        "size": done.size,
        "root": done.root,
        "files": done.files,
        "written": done.written,
        "kept": done.kept,
    }
    show([row], form, columns=["target", "origin", "size", "files", "written", "kept"])
    return EXIT_DONE


def show_proof(asked: str, export_from: Path | None, to: Path, form: Format) -> int:
    """The proof of the event that is meant, checked before it is given away; the exit code."""
    with archive_of(export_from) as (files, _):
        archive = Archive(files)
        try:
            with Progress("look for it") as told:
                found = find(archive, files, asked, told)
        except NotFoundError as error:
            say(f"virtscale: {error} [{error.code}]")
            return EXIT_NOT_FOUND
        proven = proof.prove(archive, found.seq)
        [entry] = archive.entries(found.seq, found.seq)
        proof.check(proven, entry, verifier_of(files))
    to.mkdir(parents=True, exist_ok=True)
    texts, entries = to / f"{found.seq}.tlog-proof", to / f"{found.seq}.entry"
    texts.write_text(proof.encode(proven), encoding="utf-8")
    entries.write_bytes(entry)
    if found.request_seq is not None:
        say(f"The request stands at sequence {found.request_seq}; this is the decision that answered it.")
    row: dict[str, object] = {
        "seq": found.seq,
        "type": tell(entry).type,
        "proof": os.path.relpath(texts),
        "entry": os.path.relpath(entries),
    }
    show([row], form)
    return EXIT_DONE


def show_checked(file: Path, entry: Path | None, vkey: Path | None, form: Format) -> int:
    """What the proof proves; the exit code. `ProofError` when it proves nothing."""
    beside = file.with_suffix(".entry") if entry is None else entry
    try:
        text, data = file.read_text(encoding="utf-8"), beside.read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise ProofError(f"The proof needs two files, {file} and {beside}: {error}.") from error
    signed = proof.check(proof.parse(text), data, _key(vkey))
    told = tell(data)
    row: dict[str, object] = {
        "proven": "yes",
        "origin": signed.origin,
        "seq": told.seq,
        "of": signed.size,
        "stored_at": dt.datetime.fromtimestamp(told.stored_ns // 1000 / 1e6, dt.UTC).isoformat(),
        "type": told.type,
        "subject": told.subject,
        "id": told.id,
        "root": signed.root.hex(),
        "answers": [
            {
                "request": answer.request,
                "outcome": answer.outcome,
                "code": answer.code,
                "text": sentence(org, answer, contract),
            }
            for org, answer, contract in told.answers
        ],
    }
    show([row], form, columns=["proven", "origin", "seq", "of", "stored_at", "type", "subject"])
    if form == "table":
        for org, answer, contract in told.answers:
            say(f"{answer.outcome}, {answer.code}: {sentence(org, answer, contract)}")
    return EXIT_DONE


def _key(vkey: Path | None) -> Verifier:
    """The key that was named, else the one of the house here."""
    if vkey is not None:
        return named_key(vkey)
    try:
        return key_of(None, DirectoryFiles(Path(present_house().audit)))
    except HouseError as error:
        raise UsageError(
            "There is no house here whose key the proof could be checked with: name the operator's with --vkey FILE."
        ) from error
