"""`virtscale contract verify`: form and signatures of a file, without asking anybody."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.contract.document import ROLES, Role, Signed, terms
from schemas.contract.signing import genuine
from schemas.contract.terms import fingerprint
from schemas.names import PLATFORM
from virtscale import views
from virtscale.amounts import said, shown
from virtscale.contracts.signing import load
from virtscale.crew import VIEWS
from virtscale.exits import EXIT_DONE, EXIT_FAILED
from virtscale.invocation import UsageError
from virtscale.show import Format, say, show

_TRUSTED: Final = frozenset({"as given", "current", "replaced"})
"""A key that another has replaced signed what it signed; whether it still may is for the gate to say."""

_NOTHING: Final = "nothing to compare with"


@dataclass(frozen=True, slots=True)
class _Known:
    """What one side's keys are known to be: given by hand, or registered in the house; None where nothing is known."""

    given: str | None
    registered: dict[str, str] | None

    def state(self, key: str) -> str:
        """What the key is, in a word or two."""
        if self.given is not None:
            return "as given" if key == self.given else "another than given"
        if self.registered is None:
            return _NOTHING
        return self.registered.get(key, "not registered")


def verify(directory: Path, path: Path, provider_key: str | None, org_key: str | None, form: Format) -> int:
    """The verdict was told, and the exit code is 0 exactly where both sides' known keys signed this very text."""
    signed, _ = load(path)
    contract = terms(signed)
    known: dict[Role, _Known] = {
        "provider": _Known(_key(provider_key), _registered(directory, PLATFORM)),
        "org": _Known(_key(org_key), _registered(directory, contract.org)),
    }
    rows = [_row(signed, role, known[role]) for role in ROLES]
    good = all(row["signature"] == "genuine" and row["key is"] in _TRUSTED for row in rows)
    keys = {one.key for one in signed.signatures}
    if good and len(keys) < len(ROLES):
        say("One key signed for both sides: each side has its own. [SignatureInvalid]")
        good = False
    if form == "json":
        show(
            [
                {
                    "org": contract.org,
                    "contract": contract.id,
                    "version": contract.version,
                    "fingerprint": fingerprint(signed.text),
                    "verified": good,
                    "limit": contract.limit,
                    "signatures": rows,
                }
            ],
            form,
        )
        return EXIT_DONE if good else EXIT_FAILED
    show(rows, form)
    limits = ", ".join(shown(dimension, amount) for dimension, amount in contract.limit.items())
    say(
        f"contract {contract.id} version {contract.version} of {contract.org}, fingerprint {fingerprint(signed.text)}"
    )
    say(f"limits: {limits}; valid {said(contract.valid_from)} to {said(contract.valid_until)}")
    if contract.amends is not None:
        amends = contract.amends
        say(f"amends {amends.fingerprint}, takes effect at {said(amends.effective_from)} at the earliest")
    say(
        "Both signatures are genuine."
        if good
        else f"{path} is not signed by both sides' known keys. [SignatureInvalid]"
    )
    return EXIT_DONE if good else EXIT_FAILED


def _row(signed: Signed, role: Role, known: _Known) -> dict[str, object]:
    one = next((one for one in signed.signatures if one.role == role), None)
    if one is None:
        return {"side": role, "signature": "missing", "signed at": None, "key is": None, "key": None}
    return {
        "side": role,
        "signature": "genuine" if genuine(signed, one) else "does not fit",
        "signed at": said(one.signed_at),
        "key is": known.state(one.key),
        "key": one.key,
    }


def _key(word: str | None) -> str | None:
    if word is not None and re.fullmatch(r"[0-9a-f]{64}", word, re.ASCII) is None:
        raise UsageError(f"{word!a:.40} is no public key: write 64 hexadecimal digits in lower case.")
    return word


def _registered(directory: Path, org: str) -> dict[str, str] | None:
    """The org's registered keys with their states, or None where there is no house to ask."""
    if not (directory / VIEWS).exists():
        return None
    with views.opened(directory) as base:
        rows = base.rows(views.SIGNING_KEYS)
    return {str(row["key"]): str(row["state"]) for row in rows if row["org"] == org}
