"""Contract files that are right, for tests that make them wrong; and what every refusal of one must look like."""

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from schemas.contract.document import ContractError, Signed, examine, read, write
from schemas.contract.signing import genuine
from schemas.contract.terms import NOTICE, Contract, Override, canonical
from schemas.intake import Rejection
from tests import papers
from tests.papers import NOW
from virtscale.contracts.wording import commented

MOST_SENTENCE = 700
CONTRACT = papers.terms(
    vcpu=100,
    pools={"web": Override(cooldown_seconds=120), "batch": Override(drain_seconds=300)},
    technical=(papers.terms().owner,),
)
ADDENDUM = papers.addendum(CONTRACT, NOW + NOTICE, valid_until=NOW + 3 * NOTICE)


def toml_of(contract: Contract, signed: Signed | None = None) -> str:
    """The file as the command writes it, with its words."""
    words = commented(contract)
    return write(signed, words) if signed is not None else words


def json_of(contract: Contract, signed: Signed | None = None) -> str:
    """The same as JSON."""
    return write(signed or Signed(canonical(contract), ()))


FILES: tuple[bytes, ...] = tuple(
    make(contract, papers.signed(contract) if has else None).encode()
    for contract in (CONTRACT, ADDENDUM)
    for make in (toml_of, json_of)
    for has in (True, False)
)
"""A contract and an addendum, each in TOML and JSON, each signed and not."""


def with_member(path: str, value: Any) -> bytes:
    """The signed contract as JSON, with another value at `path`."""
    members = json.loads(json_of(CONTRACT, papers.signed(CONTRACT)))
    *way, last = path.split(".")
    place = members
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    place[last] = value
    return json.dumps(members).encode()


def refusal(raw: bytes) -> ContractError:
    """How the file is refused; it must be, and in one printable sentence with a code."""
    try:
        read(raw)
    except ContractError as error:
        assert_spoken(error.code, str(error))
        return error
    raise AssertionError(f"This was read: {raw[:300]!r}")


def assert_spoken(code: str, text: str) -> None:
    """A refusal is one line that can be printed, not too long, and has a code of letters."""
    assert code.isalpha(), code
    assert text.isprintable(), text
    assert 0 < len(text) <= MOST_SENTENCE, text


def read_or_refused(read_it: Callable[[], Signed]) -> Signed | None:
    """The document, or None where it was refused as it should be; any other exception comes through."""
    try:
        return read_it()
    except ContractError as error:
        assert_spoken(error.code, str(error))
        return None


@lru_cache(maxsize=256)
def assert_whole(signed: Signed) -> Contract:
    """What was read is in canonical form, and reads back as the same from each of its two forms."""
    contract = examine(signed)
    assert signed.text == canonical(contract)
    assert read(write(signed).encode()) == signed
    assert read(write(signed, commented(contract)).encode()) == signed
    assert msgspec.json.decode(msgspec.json.encode(signed), type=Signed) == signed
    return contract


def is_genuine(signed: Signed) -> bool:
    """Both sides' keys of these tests signed this very text."""
    keys = [one.key for one in signed.signatures]
    return keys == [papers.public_key("platform"), papers.public_key("acme")] and all(
        genuine(signed, one) for one in signed.signatures
    )


def assert_rejected(rejection: object) -> Rejection:
    """The door said no, in one printable sentence with a code."""
    assert isinstance(rejection, Rejection), rejection
    assert_spoken(rejection.code, rejection.text)
    return rejection
