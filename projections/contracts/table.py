"""The tables `contracts` and `signing_keys`: every document and key there ever was, and what became of it."""

import datetime as dt
from collections.abc import Iterable

import msgspec

from events.contract import ContractAccepted, ContractTookEffect, ContractVoided
from events.envelope import Recorded
from events.key import KeyRegistered, KeyRevoked
from projections.contracts.record import Record
from projections.table import Cell, Key, Table


def _contracts_touched(recorded: Recorded) -> Iterable[Key]:
    match recorded.fact:
        case ContractTookEffect(org=org):
            yield (org,)  # it supersedes another, which the event does not name
        case (
            ContractAccepted(org=org, fingerprint=fingerprint)
            | ContractVoided(org=org, fingerprint=fingerprint)
        ):
            yield (org, fingerprint)
        case _:
            pass


def _contracts(record: Record, prefix: Key) -> Iterable[Key]:
    return [key for key in record.papers if key[: len(prefix)] == prefix]


def _contract(record: Record, key: Key) -> tuple[Cell, ...] | None:
    paper = record.papers.get((key[0], key[1]))
    if paper is None:
        return None
    contract = paper.contract
    return (
        paper.org,
        paper.fingerprint,
        contract.id,
        contract.version,
        paper.stage,
        _said(paper.accepted_at),
        _said(paper.effective_at),
        _said(contract.valid_from),
        _said(contract.valid_until),
        ", ".join(f"{one.role} {one.key[:16]}" for one in paper.signed.signatures) or None,
        _said(paper.voided_at),
        paper.code,
        paper.signed.text,
        msgspec.json.encode(paper.signed.signatures).decode(),
    )


def _keys_touched(recorded: Recorded) -> Iterable[Key]:
    match recorded.fact:
        case KeyRegistered(org=org, public_key=key, former=former):
            yield (org, key)
            if former is not None:
                yield (org, former)
        case KeyRevoked(org=org, public_key=key):
            yield (org, key)
        case _:
            pass


def _key(record: Record, key: Key) -> tuple[Cell, ...] | None:
    known = record.keys.get((key[0], key[1]))
    if known is None:
        return None
    return (
        known.org,
        known.key,
        known.state,
        _said(known.registered_at),
        known.former,
        _said(known.ended_at),
        known.actor,
        known.reason,
    )


def _said(instant: dt.datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


TABLES = (
    Table(
        "contracts",
        Record,
        (
            "org",
            "fingerprint",
            "id",
            "version",
            "state",
            "accepted_at",
            "effective_at",
            "valid_from",
            "valid_until",
            "signed_by",
            "voided_at",
            "code",
            "text",
            "signatures",
        ),
        2,
        _contracts_touched,
        _contract,
        _contracts,
        takes=frozenset({ContractAccepted, ContractTookEffect, ContractVoided}),
    ),
    Table(
        "signing_keys",
        Record,
        ("org", "key", "state", "registered_at", "former", "ended_at", "actor", "reason"),
        2,
        _keys_touched,
        _key,
        takes=frozenset({KeyRegistered, KeyRevoked}),
    ),
)
"""Documents by fingerprint, with their text and signatures as JSON; keys by their public part."""
