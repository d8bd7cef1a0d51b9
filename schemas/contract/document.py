"""A contract as a file: TOML or JSON that a person can read, with the signatures behind the terms.

Read in one way only. What another reader could take for something else is refused: a key that stands twice, a number
with a fraction, an instant that is not in UTC, bytes that are no UTF-8.
"""

import datetime as dt
import json
import re
import tomllib
from typing import Annotated, Final, Literal, TypeVar, cast

import msgspec

from schemas.capacity import UNITS
from schemas.contract.terms import MOST_QUOTA, Contract, canonical
from schemas.moment import Moment
from schemas.struct import Value

MOST_BYTES: Final = 64 * 1024
"""A longer file is no contract, whatever it says."""

MOST_TEXT_BYTES: Final = 12_000
"""The canonical text stays below this, so that it fits a request of 16 KiB and an event with room to spare."""

Role = Literal["provider", "org"]
"""Who signs: whoever runs the platform, and whoever uses it."""

ROLES: Final[tuple[Role, ...]] = ("provider", "org")

PublicKey = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}(?![\s\S])")]
"""An ed25519 public key (RFC 8032) as 64 hexadecimal digits in lower case."""

SignatureValue = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}(?![\s\S])")]
"""An ed25519 signature (RFC 8032) as 128 hexadecimal digits in lower case."""


class Signature(Value, frozen=True):
    """One side's signature: by which key, and when it says it signed."""

    role: Role
    key: PublicKey
    signed_at: Moment
    value: SignatureValue


class Signed(Value, frozen=True):
    """A document with its signatures: the text is what was signed, byte for byte."""

    text: Annotated[str, msgspec.Meta(max_length=MOST_TEXT_BYTES)]
    signatures: Annotated[tuple[Signature, ...], msgspec.Meta(max_length=2)]


class ContractError(ValueError):
    """A contract document was refused; the sentence says which field and why, and `code` is stable."""

    def __init__(self, text: str, code: str = "ContractUnreadable") -> None:
        super().__init__(f"{text} Nothing was stored.")
        self.code = code


def read(raw: bytes) -> Signed:
    """The document that a file holds, in canonical form; `ContractError` for the first thing that is wrong."""
    if len(raw) > MOST_BYTES:
        raise ContractError(f"The contract file has {len(raw)} bytes; at most {MOST_BYTES} are read.")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ContractError(
            f"The contract file is not UTF-8: byte {error.start} is {raw[error.start]:#04x}."
        ) from error
    members = _members(text)
    signatures = _convert(members.pop("signatures", ()), tuple[Signature, ...], "signatures")
    contract = _convert(members, Contract, "terms")
    check(contract)
    signed = Signed(canonical(contract), signatures)
    check_signatures(signed)
    return signed


def terms(signed: Signed) -> Contract:
    """What a document of the ledger says: it was examined before it was accepted."""
    return msgspec.json.decode(signed.text, type=Contract)


def examine(signed: Signed) -> Contract:
    """What a document from outside says; `ContractError` when its text is not the canonical one of sensible terms."""
    try:
        contract = terms(signed)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ContractError(f"The document cannot be read: {_short(str(error))}.") from error
    check(contract)
    if canonical(contract) != signed.text:
        raise ContractError(
            "The document is not in canonical form, and what was signed must have one form only: write it with "
            "`virtscale contract sign`.",
            "ContractNotCanonical",
        )
    check_signatures(signed)
    return contract


def check(contract: Contract) -> None:
    """The terms make sense in themselves, or `ContractError`."""
    here = f"Contract {contract.id} version {contract.version}"
    for name, amount in contract.quota.items():
        if amount > MOST_QUOTA:
            raise ContractError(
                f"{here} has a quota of {amount} {UNITS[name]}; at most {MOST_QUOTA} can be counted exactly by every "
                "reader."
            )
    for person in (contract.owner, *contract.technical):
        if _COMMITMENT.fullmatch(person.commitment) is None:
            raise ContractError(
                f"{here} has a commitment of {person.person} that is not 64 hexadecimal digits in lower case: any other "
                "text could name somebody."
            )
    for field, instant in _instants(contract):
        if instant.utcoffset() or instant.microsecond:
            raise ContractError(
                f"{here} says `{field}` is {instant.isoformat()}: write it in UTC and whole seconds, with a Z.",
                "ContractNotCanonical",
            )
    if contract.valid_until <= contract.valid_from:
        raise ContractError(
            f"{here} would end at {_said(contract.valid_until)}, not after it begins ({_said(contract.valid_from)})."
        )
    if (contract.amends is None) != (contract.version == 1):
        raise ContractError(
            f"{here} {'names no document that it amends' if contract.amends is None else 'amends another'}: version 1 is "
            "a contract, every later one an addendum that says in [amends] what it builds on."
        )
    if contract.amends is not None and contract.amends.effective_from < contract.valid_from:
        raise ContractError(
            f"{here} would take effect at {_said(contract.amends.effective_from)}, before it begins "
            f"({_said(contract.valid_from)})."
        )
    if contract.amends is not None and contract.amends.effective_from >= contract.valid_until:
        raise ContractError(
            f"{here} would take effect at {_said(contract.amends.effective_from)}, when it has already ended "
            f"({_said(contract.valid_until)})."
        )
    if len(canonical(contract)) > MOST_TEXT_BYTES:
        raise ContractError(
            f"{here} has {len(canonical(contract))} bytes; at most {MOST_TEXT_BYTES} are taken."
        )


def check_signatures(signed: Signed) -> None:
    """At most one signature of each side, in the order provider, org, with instants as terms have them."""
    roles = [signature.role for signature in signed.signatures]
    if roles != [role for role in ROLES if role in roles]:
        raise ContractError(
            f"The document is signed by {', '.join(roles)}: each side signs once, the provider first.",
            "ContractNotCanonical",
        )
    for signature in signed.signatures:
        if signature.signed_at.utcoffset() or signature.signed_at.microsecond:
            raise ContractError(
                f"The {signature.role}'s signature says {signature.signed_at.isoformat()}: UTC and whole seconds.",
                "ContractNotCanonical",
            )


def write(signed: Signed, present: str | None = None) -> str:
    """The document as a file. TOML keeps the words that a person wrote above the signatures; without them, JSON."""
    if present is not None and _is_toml(present):
        return _terms_part(present) + "".join(_block(signature) for signature in signed.signatures)
    members = {**cast("dict[str, object]", json.loads(signed.text))}
    members["signatures"] = msgspec.to_builtins(signed.signatures)
    return json.dumps(members, indent=2) + "\n"


# ------------------------------------------------------------------------------------------------------- private

T = TypeVar("T")

_SENTENCE: Final = 200
_COMMITMENT: Final = re.compile(r"[0-9a-f]{64}")
_MARK: Final = "\n# Signatures, over the terms above in canonical form.\n"


def _terms_part(text: str) -> str:
    head, _, _ = text.partition("\n[[signatures]]")
    return head.removesuffix(_MARK.rstrip("\n")).rstrip("\n") + "\n" + _MARK


def _block(signature: Signature) -> str:
    return (
        f'[[signatures]]\nrole = "{signature.role}"\nkey = "{signature.key}"\n'
        f"signed_at = {_said(signature.signed_at)}\n"
        f'value = "{signature.value}"\n\n'
    )


def _is_toml(text: str) -> bool:
    return not text.lstrip().startswith("{")


def _members(text: str) -> dict[str, object]:
    try:
        found: object = (
            tomllib.loads(text)
            if _is_toml(text)
            else json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        )
    except ContractError:
        raise
    except (ValueError, RecursionError) as error:  # TOML and JSON errors, and integers of too many digits
        raise ContractError(f"The contract file is not valid: {_short(str(error))}.") from error
    return cast("dict[str, object]", found)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ContractError(f"The contract file says `{_short(twice)}` twice.")
    return members


def _refuse_constant(word: str) -> object:
    raise ContractError(f"The contract file holds {word}, which is no number of anything.")


def _convert(value: object, kind: type[T], part: str) -> T:
    try:
        return msgspec.convert(value, kind, strict=True)
    except (msgspec.ValidationError, RecursionError, UnicodeError) as error:  # half a surrogate pair, escaped
        raise ContractError(
            f"The {part} of the contract file are not valid: {_short(str(error))}."
        ) from error


def _instants(contract: Contract) -> list[tuple[str, dt.datetime]]:
    found = [("valid_from", contract.valid_from), ("valid_until", contract.valid_until)]
    if contract.amends is not None:
        found.append(("effective_from", contract.amends.effective_from))
    return found


def _said(instant: dt.datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


def _short(text: str) -> str:
    """The words of a parser, which quotes the file: on one line, printable, and not longer than a sentence."""
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[:_SENTENCE])
    return shown if len(text) <= _SENTENCE else shown + "…"
