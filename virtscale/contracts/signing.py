"""`virtscale contract sign`, `cosign` and `submit`: a file becomes a document that both sides signed, and is handed in."""

import asyncio
import datetime as dt
from pathlib import Path
from typing import Final

import msgspec

from events.contract import ContractAccepted
from events.sentences import unit
from schemas.contract import signing
from schemas.contract.acceptance import unsigned
from schemas.contract.document import MOST_BYTES, ContractError, Role, Signed, read, terms, write
from schemas.contract.terms import fingerprint
from schemas.house import House
from schemas.intake import Submit
from schemas.names import PLATFORM
from virtscale.amounts import said
from virtscale.ask import new_key
from virtscale.exits import EXIT_DONE, EXIT_REFUSED, EXIT_USAGE
from virtscale.keys import signers
from virtscale.ruled import Ruled, ruled
from virtscale.show import say

_OTHER: Final[dict[Role, Role]] = {"provider": "org", "org": "provider"}


class PaperError(Exception):
    """A contract file cannot be used so; the sentence says why."""

    exit_code = EXIT_USAGE

    def __init__(self, text: str, code: str = "ContractFileUnusable") -> None:
        super().__init__(text)
        self.code = code


def load(path: Path) -> tuple[Signed, str]:
    """The document in a file, and the file's own words; `PaperError` where there is none."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no path"
        raise PaperError(f"The contract file {str(path)!a:.200} cannot be read: {why}.") from None
    try:
        return read(raw), raw.decode()
    except ContractError as error:
        raise PaperError(f"{path}: {error}", error.code) from error


def save(path: Path, signed: Signed, present: str) -> None:
    """The file holds the document with its signatures and the words it had, or is as it was."""
    text = write(signed, present)
    try:
        kept = read(text.encode())
    except ContractError:
        kept = None
    if kept != signed:
        raise PaperError(
            f"{path} states its signatures where they cannot be kept: remove them, and put nothing behind the line "
            "`[[signatures]]` but signatures. Nothing was written."
        )
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.write_text(text, encoding="utf-8", newline="")
        draft.chmod(path.stat().st_mode & 0o777)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise PaperError(f"{path} cannot be written: {error.strerror}. It is as it was.") from None


def sign(house: House | None, path: Path, role: Role, key: Path | None, *, anew: bool) -> int:
    """The file carries this side's signature; the exit code."""
    signed, present = load(path)
    contract = terms(signed)
    signed = _fitting(path, signed, anew=anew)
    whose = PLATFORM if role == "provider" else contract.org
    if key is None:
        assert house is not None
        key = signers.path_of(house.signing_keys, whose)
    secret = signers.read(key)
    other = next((one for one in signed.signatures if one.role != role), None)
    if other is not None and other.key == signers.public(secret):
        raise PaperError(
            f"The key in {key} signed {path} for the {_OTHER[role]} already: each side has its own. Nothing was written.",
            "SignatureInvalid",
        )
    signed = signing.sign(signed, role, secret, dt.datetime.now(dt.UTC))
    save(path, signed, present)
    say(
        f"{path}: contract {contract.id} version {contract.version} of {contract.org} is signed by the {role} with "
        f"{signers.public(secret)[:16]}…; fingerprint {fingerprint(signed.text)[:16]}…"
    )
    if other is None:
        word = "cosign" if role == "provider" else "sign"
        say(f"The {_OTHER[role]} signs next: virtscale contract {word} {path}")
    else:
        say(f"Both sides have signed. Hand it in: virtscale contract submit {path}")
    return EXIT_DONE


def _fitting(path: Path, signed: Signed, *, anew: bool) -> Signed:
    """The document without signatures that do not fit it; `PaperError` where there is one and nobody said `--anew`."""
    stale = [one for one in signed.signatures if not signing.genuine(signed, one)]
    if not stale:
        return signed
    roles = " and the ".join(one.role for one in stale)
    if not anew:
        raise PaperError(
            f"The signature of the {roles} in {path} does not fit: the terms were changed after it was made. Change them "
            "back, or say --anew, which removes it so that both sides sign anew. Nothing was written.",
            "SignatureInvalid",
        )
    say(f"The signature of the {roles} was removed: it was made for other terms.")
    return msgspec.structs.replace(
        signed, signatures=tuple(one for one in signed.signatures if one not in stale)
    )


def submit(house: House, path: Path) -> int:
    """The gate has answered whether the document is accepted, and the person was told from when it holds."""
    signed, _ = load(path)
    contract = terms(signed)
    missing = unsigned(signed, contract)
    if missing is not None:
        raise PaperError(f"{missing.text} Nothing was handed in.", missing.code)
    done = asyncio.run(ruled(house, contract.org, Submit(key=new_key(), document=signed)))
    here = f"Contract {contract.id} version {contract.version} of {contract.org}"
    if done.answer.outcome == "refused":
        say(f"{here} is refused: {done.text} [{done.answer.code}]")
        return EXIT_REFUSED
    if done.answer.code == "AlreadyInForce":
        say(f"{here} was accepted before; nothing has changed.")
        return EXIT_DONE
    _tell(here, done)
    return EXIT_DONE


def _tell(here: str, done: Ruled) -> None:
    accepted = next(fact for fact in done.facts if isinstance(fact, ContractAccepted))
    limit = terms(accepted.document).limit
    until = said(terms(accepted.document).valid_until)
    if accepted.effective_at > accepted.accepted_at:
        say(
            f"{here} is accepted. It takes effect at {said(accepted.effective_at)}; until then the document before it "
            f"holds. Its limit is {limit.vcpu} vCPU and {limit.memory_mib} MiB RAM, until {until}."
        )
    else:
        say(
            f"{here} is in force now: at most {limit.vcpu} vCPU and {limit.memory_mib} MiB RAM, until {until}."
        )
    for line in done.answer.evidence:
        if line.projected > line.limit:
            say(
                f"{line.projected} {unit(line)} are in use or reserved, above its limit of {line.limit} (quota "
                f"{line.quota}). Nothing is stopped; growth is refused while use is above the limit."
            )
