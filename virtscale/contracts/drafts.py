"""`virtscale contract new`: a draft that a person can read and change, and that both sides sign then.

People go into the vault; the file holds their ids, and commitments to their addresses.
"""

import datetime as dt
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from events.vault import Vault
from schemas.capacity import Capacity
from schemas.contract.document import ContractError, read
from schemas.contract.document import terms as terms_of
from schemas.contract.terms import NOTICE, Amends, Contract, Person, canonical, fingerprint
from schemas.house import House
from schemas.names import PLATFORM, is_name
from virtscale import amounts
from virtscale.contracts import shelf
from virtscale.contracts.signing import PaperError, load
from virtscale.contracts.wording import commented
from virtscale.crew import VIEWS
from virtscale.exits import EXIT_DONE
from virtscale.invocation import UsageError, now_in, require_org
from virtscale.show import say

_GIB_IN_MIB: Final = 1024
_TIB: Final = 1024**4
_USUAL: Final = Capacity(
    vcpu=100, memory_mib=480 * _GIB_IN_MIB, block_bytes=10 * _TIB, object_bytes=10 * _TIB
)
_TO_SIGN: Final = dt.timedelta(days=1)
"""What a draft of an addendum adds to the notice, so that there is a day to sign it in."""

_MOST_PEOPLE: Final = 20
_MOST_MAIL: Final = 254
"""The longest address that a mail server takes (RFC 5321, 4.5.3.1.3)."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command says of the terms; None where it says nothing."""

    quota: tuple[str, ...] = ()
    allowance: Decimal | None = None
    reserve: Decimal | None = None
    price: Decimal | None = None
    owner: str | None = None
    technical: tuple[str, ...] = ()
    valid_from: str | None = None
    valid_until: str | None = None
    effective_from: str | None = None
    id: str | None = None


def draft(
    house: House, org: str, wishes: Wishes, amends: Path | None, output: Path | None, *, addendum: bool
) -> int:
    """The draft is in the file, or on standard output; what is there already is not written over."""
    directory = Path(house.directory)
    if require_org(org) == PLATFORM:
        raise UsageError(f"{PLATFORM} is nobody's org and has no contract.")
    if output is not None and output.exists():
        raise PaperError(f"There is a file {output} already. Nothing was written.")
    now = now_in(directory)
    if addendum or amends is not None:
        before = _to_amend(directory, org, amends)
        contract, changed = _amended(before, wishes, now), before
    else:
        if wishes.effective_from is not None:
            raise UsageError(
                "A contract takes effect when it is accepted: --effective-from is for an addendum."
            )
        contract, changed = _first(org, _free_id(directory, org, wishes, now), wishes, now), None
    contract = _with_people(contract, wishes, Vault(Path(house.vault)))
    text = _written(contract, changed)
    if output is None:
        sys.stdout.write(text)
        return EXIT_DONE
    try:
        with output.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise PaperError(f"{output} cannot be written: {error.strerror}.") from None
    say(f"{output}: change what should be otherwise, then sign: virtscale contract sign {output}")
    return EXIT_DONE


def _written(contract: Contract, before: Contract | None) -> str:
    """The draft's words, which say exactly these terms; `PaperError` where the terms make no sense."""
    try:
        document = read(commented(contract, before).encode())
    except ContractError as error:
        raise PaperError(str(error), error.code) from error
    assert document.text == canonical(contract), contract
    return commented(contract, before)


def _first(org: str, id: str, wishes: Wishes, now: dt.datetime) -> Contract:
    begin = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if wishes.valid_from is not None:
        begin = amounts.instant(wishes.valid_from, "begin")
    try:
        end = begin.replace(year=begin.year + 1)
    except ValueError:  # the 29th of February, or the last year there is
        end = begin + dt.timedelta(days=365)
    return _wished(
        Contract(
            format=2,
            id=id,
            version=1,
            org=org,
            quota=_USUAL,
            allowance_bp=1000,
            warm_reserve_bp=500,
            price_eur_cents_month=0,
            owner=Person(person=f"{org[:34]}-owner", commitment="0" * 64),
            technical=(),
            valid_from=begin,
            valid_until=end,
        ),
        wishes,
    )


def _amended(before: Contract, wishes: Wishes, now: dt.datetime) -> Contract:
    at = _next_hour(now + NOTICE + _TO_SIGN)
    if wishes.effective_from is not None:
        at = amounts.instant(wishes.effective_from, "time to take effect")
    if wishes.id is not None and wishes.id != before.id:
        raise UsageError(f"An addendum keeps the id of what it amends, {before.id}.")
    if wishes.valid_from is not None:
        raise UsageError("An addendum keeps the begin of the contract: say --effective-from for its own.")
    amends = Amends(fingerprint=fingerprint(canonical(before)), effective_from=at)
    return _wished(replace(before, version=before.version + 1, amends=amends), wishes)


def _wished(contract: Contract, wishes: Wishes) -> Contract:
    """The terms with what the command says of them; what it says is checked as a file would be, when it is written."""
    changes: dict[str, object] = {"quota": amounts.quota(wishes.quota, contract.quota)}
    if wishes.allowance is not None:
        changes["allowance_bp"] = amounts.basis_points(wishes.allowance, "allowance")
    if wishes.reserve is not None:
        changes["warm_reserve_bp"] = amounts.basis_points(wishes.reserve, "warm reserve")
    if wishes.price is not None:
        changes["price_eur_cents_month"] = amounts.cents(wishes.price)
    if wishes.valid_until is not None:
        changes["valid_until"] = amounts.instant(wishes.valid_until, "end")
    return replace(contract, **changes)


def _to_amend(directory: Path, org: str, amends: Path | None) -> Contract:
    if amends is None:
        present = shelf.newest(directory, org)
        if not present.signed.signatures:
            raise PaperError(
                f"{present.contract.id} version {present.contract.version} of {org} was never signed, so there is nothing to "
                "amend: draft a contract, without --addendum.",
                "ContractUnsigned",
            )
        return present.contract
    contract = terms_of(load(amends)[0])
    if contract.org != org:
        raise PaperError(f"{amends} is a contract of {contract.org}, not of {org}.", "ContractOfAnother")
    return contract


def _free_id(directory: Path, org: str, wishes: Wishes, now: dt.datetime) -> str:
    """The id that was asked for, or the first of `acme-2026`, `acme-2026-2`, … that no document of the org has had."""
    if wishes.id is not None:
        if not is_name(wishes.id):
            raise UsageError(f"{wishes.id!a:.60} is no id: write 1 to 40 of a-z, 0-9 and inner dashes.")
        return wishes.id
    usual = f"{org[:30].rstrip('-')}-{now.year}"
    if not (directory / VIEWS).exists():
        return usual
    taken = {sheet.contract.id for sheet in shelf.sheets(directory, org)}
    number = 1
    while (name := usual if number == 1 else f"{usual}-{number}") in taken:
        number += 1
    return name


def _with_people(contract: Contract, wishes: Wishes, vault: Vault) -> Contract:
    """The people are in the vault, and the contract names them; those that nobody named stay as they were."""
    if len(wishes.technical) > _MOST_PEOPLE:
        raise UsageError(
            f"{len(wishes.technical)} technical contacts; a contract names at most {_MOST_PEOPLE}."
        )
    if wishes.owner is None and contract.amends is None:
        raise UsageError(
            "A contract has an owner, who is mailed when a request is refused: say --owner PERSON=MAIL."
        )
    named = [_named(word) for word in ((wishes.owner,) if wishes.owner else ()) + wishes.technical]
    # All are looked at before one is stored, and the terms too: a command that fails has stored nobody.
    _written(contract, None)
    for person, mail in named:
        if mail is None and vault.commitment(person) is None:
            raise UsageError(f"The vault knows no {person}: say {person}=MAIL.")
    people = [Person(person=person, commitment=_commitment(vault, person, mail)) for person, mail in named]
    owner = people.pop(0) if wishes.owner else contract.owner
    return replace(contract, owner=owner, technical=tuple(people) if wishes.technical else contract.technical)


def _named(word: str) -> tuple[str, str | None]:
    """A person's id and address from `PERSON=MAIL`, or the id of one who is in the vault already."""
    person, equals, mail = word.partition("=")
    if not is_name(person):
        raise UsageError(
            f"{person!a:.60} is no person's id: write 1 to 40 of a-z, 0-9 and inner dashes, then =MAIL."
        )
    local, at, domain = mail.rpartition("@")
    if equals and not (
        at and local and domain and mail.isprintable() and " " not in mail and len(mail) <= _MOST_MAIL
    ):
        raise UsageError(f"What stands behind {person}= is no mail address.")
    return person, mail if equals else None


def _commitment(vault: Vault, person: str, mail: str | None) -> str:
    present = vault.commitment(person) if mail is None else vault.put(person, {"mail": mail})
    assert present is not None, person
    return present


def _next_hour(instant: dt.datetime) -> dt.datetime:
    whole = instant.replace(minute=0, second=0, microsecond=0)
    return whole if whole == instant else whole + dt.timedelta(hours=1)
