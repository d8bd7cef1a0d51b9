"""`virtscale ledger verify`: the verdicts on the archive, and on the bus beside it."""

import asyncio
import time
from pathlib import Path
from typing import Final

import msgspec

from events.bus.port import BusError
from events.tlog import proof
from events.tlog.files import Files
from events.tlog.proof import ProofError
from events.tlog.reader import Archive
from replay.audit.against_bus import against_bus
from replay.audit.verify import UnverifiableError, Verdict, Verified, verify
from schemas.house import House
from virtscale.ask import operator
from virtscale.audit.places import archive_of, key_of
from virtscale.exits import EXIT_DONE, EXIT_FAILED
from virtscale.progress import Progress
from virtscale.show import Format, say, show

PROOF_BEGINS: Final = "c2sp.org/tlog-proof@"
_COLUMNS = ["of", "verdict", "code", "trusted_to", "first_bad_seq", "says"]


def show_verdicts(
    export: Path | None, checkpoints: tuple[Path, ...], vkey: Path | None, form: Format, *, events: bool
) -> int:
    """Two verdicts on an export, four on a house; the exit code."""
    kept = [(str(path), _text(path)) for path in checkpoints]
    with archive_of(export) as (files, house):
        key = key_of(vkey, files)
        began = time.monotonic()
        with Progress("verify") as told:
            verified = verify(files, key, kept, told, events=events)
        _tell(verified, time.monotonic() - began)
        if vkey is None and house is None:
            say(
                "The key is the one beside the export: name the one that you know to be the operator's with --vkey."
            )
        verdicts = verified.verdicts
        if house is not None and verified.size:
            verdicts += asyncio.run(_beside(house, files))
    rows: list[dict[str, object]] = [
        {
            **msgspec.to_builtins(verdict),
            "origin": verified.origin,
            "size": verified.size,
            "root": verified.root,
            "key": verified.key,
        }
        for verdict in verdicts
    ]
    show(rows, form, columns=_COLUMNS)
    return EXIT_DONE if all(verdict.ok for verdict in verdicts) else EXIT_FAILED


async def _beside(house: House, files: Files) -> tuple[Verdict, Verdict]:
    """The verdicts on the bus; where it does not answer, that is what they say."""
    try:
        with Progress("compare with the bus") as told:
            async with operator(house) as bus:
                return await against_bus(bus, Archive(files), told)
    except BusError as error:
        integrity = Verdict(
            verdict="integrity",
            of="bus",
            ok=False,
            code=error.code,
            first_bad_seq=None,
            trusted_to=0,
            says=f"Nothing is known of the bus: {error} The archive alone is verified with --from {house.audit}.",
        )
        return integrity, msgspec.structs.replace(integrity, verdict="completeness")


def _tell(verified: Verified, seconds: float) -> None:
    if verified.size:
        say(
            f"{verified.origin}: {verified.size:,} events under the root {verified.root}, signed by {verified.key}; "
            f"{seconds:.1f} s, {verified.size / max(seconds, 1e-9):,.0f} events/s"
        )


def _text(path: Path) -> str:
    """The checkpoint in the file, which may be one alone, or a proof of some event, under which there is one."""
    try:
        text = path.read_text(encoding="utf-8")
        return proof.parse(text).note if text.startswith(PROOF_BEGINS) else text
    except (OSError, UnicodeDecodeError, ProofError) as error:
        raise UnverifiableError(f"The checkpoint {path} cannot be read: {error}.") from error
