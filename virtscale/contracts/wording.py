"""Terms as a TOML file with words beside the numbers, so that whoever signs understands what."""

import datetime as dt
from collections.abc import Iterator

import msgspec

from events.sentences import percent
from schemas.contract.terms import Contract, Person
from virtscale.amounts import said, shown


def commented(contract: Contract, before: Contract | None = None) -> str:
    """The file; with `before`, each number that differs says what it was."""
    return "\n".join(_lines(contract, before)) + "\n"


def _lines(contract: Contract, before: Contract | None) -> Iterator[str]:
    if contract.amends is None:
        yield f"# The contract of {contract.org} for capacity. Both sides sign it before anything grows by it:"
    else:
        yield f"# An addendum to {contract.id}. It states all terms anew; both sides sign it:"
    yield "#   virtscale contract sign FILE      the provider"
    yield "#   virtscale contract cosign FILE    the org"
    yield "#   virtscale contract submit FILE"
    yield "# Words behind a # may be changed at any time, numbers only before signing."
    yield "format = 2"
    yield f'id = "{contract.id}"'
    yield f"version = {contract.version}"
    yield f'org = "{contract.org}"'
    yield _with(
        f"allowance_bp = {contract.allowance_bp}",
        f"{percent(contract.allowance_bp)} above the quota is the hard limit; 500, 1000 or 2000",
    )
    yield _with(
        f"warm_reserve_bp = {contract.warm_reserve_bp}",
        f"{percent(contract.warm_reserve_bp)} of the quota is kept awake for what no forecast saw; 500 to 2000",
    )
    cents = contract.price_eur_cents_month
    yield _with(f"price_eur_cents_month = {cents}", f"{cents // 100}.{cents % 100:02} EUR per month")
    yield f"valid_from = {_instant(contract.valid_from)}"
    yield _with(f"valid_until = {_instant(contract.valid_until)}", "from this instant on nothing grows by it")
    if not contract.technical:
        yield _with(
            "technical = []", "who else is named: [[technical]] with person and commitment, behind [owner]"
        )
    yield ""
    yield "# What is committed, in vCPU, MiB and bytes; behind it the limit with the allowance, rounded down."
    yield "[quota]"
    for dimension, amount in contract.quota.items():
        note = f"{shown(dimension, amount)}; limit {shown(dimension, contract.limit.of(dimension))}"
        if before is not None and before.quota.of(dimension) != amount:
            note += f"; it was {shown(dimension, before.quota.of(dimension))}"
        yield _with(f"{dimension} = {amount}", note)
    yield ""
    yield "# Who is mailed when a request is refused. The address is in the vault; this is a salted commitment to it."
    yield "[owner]"
    yield from _person(contract.owner)
    for person in contract.technical:
        yield ""
        yield "[[technical]]"
        yield from _person(person)
    for pool, override in contract.pools.items():
        yield ""
        yield f"[pools.{pool}]"
        for name, value in msgspec.structs.asdict(override).items():
            if value is not None:
                yield f"{name} = {value}"
    if contract.amends is not None:
        yield ""
        yield "# The newest accepted document of the contract, by its fingerprint, and when this takes its place: at least"
        yield f"# 30 days after it is accepted. As drafted that is {said(contract.amends.effective_from)}."
        yield "[amends]"
        yield f'fingerprint = "{contract.amends.fingerprint}"'
        yield f"effective_from = {_instant(contract.amends.effective_from)}"


def _person(person: Person) -> Iterator[str]:
    yield f'person = "{person.person}"'
    yield f'commitment = "{person.commitment}"'


def _with(statement: str, note: str) -> str:
    return f"{statement:<34} # {note}"


def _instant(instant: dt.datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
