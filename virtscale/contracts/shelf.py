"""`virtscale contract show`: the documents of an org, as the views have them, and what is enforced of them today."""

import datetime as dt
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from events.sentences import percent
from schemas.capacity import DIMENSIONS, ENFORCED
from schemas.contract.document import Signature, Signed, terms
from schemas.contract.terms import Contract
from virtscale import views
from virtscale.amounts import said, shown
from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND
from virtscale.invocation import now_in, require_org
from virtscale.show import Format, say, show
from virtscale.views import Row

State = Literal["in-force", "to-come", "superseded", "voided", "expired", "unsigned"]
"""What a person is told: expired is one in force whose end has passed; unsigned one of before there were signatures."""

_DAY: Final = dt.timedelta(days=1)


class NothingSignedError(Exception):
    """The org has no such document."""

    code = "ContractMissing"
    exit_code = EXIT_NOT_FOUND


@dataclass(frozen=True, slots=True)
class Sheet:
    """One accepted document, as the views have it."""

    row: Row
    signed: Signed
    contract: Contract

    @property
    def effective_at(self) -> dt.datetime:
        """When it takes or took effect."""
        return dt.datetime.fromisoformat(str(self.row["effective_at"]))

    def state(self, now: dt.datetime) -> State:
        """Where it is in its life at this time."""
        stage = str(self.row["state"])
        if stage == "in-force":
            if now >= self.contract.valid_until:
                return "expired"
            return "in-force" if self.signed.signatures else "unsigned"
        return "to-come" if stage == "to-come" else "voided" if stage == "voided" else "superseded"


def sheets(directory: Path, org: str | None = None) -> list[Sheet]:
    """Every accepted document of the org, or of all, in the order in which they build on each other."""
    with views.opened(directory) as base:
        rows = base.rows(views.CONTRACTS)
    return [_sheet(row) for row in rows if org in {None, row["org"]}]


def _sheet(row: Row) -> Sheet:
    signatures = msgspec.json.decode(str(row["signatures"]), type=tuple[Signature, ...])
    signed = Signed(str(row["text"]), signatures)
    return Sheet(row, signed, terms(signed))


def newest(directory: Path, org: str) -> Sheet:
    """The newest accepted document of the org, in effect or to come: the one that an addendum builds on."""
    found = [sheet for sheet in sheets(directory, org) if sheet.row["state"] in {"in-force", "to-come"}]
    if not found:
        raise NothingSignedError(
            f"The org {org} has no accepted contract: draft one with `virtscale contract new {org}`."
        )
    return max(found, key=lambda sheet: (sheet.row["state"] == "to-come", sheet.contract.version))


def version(directory: Path, org: str, number: int) -> Sheet:
    """The org's accepted document of this version, the latest of that number."""
    found = [sheet for sheet in sheets(directory, org) if sheet.contract.version == number]
    if not found:
        raise NothingSignedError(f"The org {org} has no accepted document of version {number}.")
    return found[-1]


def show_contracts(directory: Path, org: str | None, form: Format) -> int:
    """All documents as a list, or with an org everything that its documents say today; the exit code."""
    now = now_in(directory)
    found = sheets(directory, None if org is None else require_org(org))
    if org is not None and not found:
        raise NothingSignedError(f"The org {org} has no accepted contract: nothing of it may grow.")
    if form == "json":
        show([_whole(sheet, now) for sheet in found], form)
        return EXIT_DONE
    if org is not None:
        _show_present(found, now)
    show([_line(sheet, now) for sheet in found], form)
    for sheet in found:
        _say_of(sheet, now)
    return EXIT_DONE


def _line(sheet: Sheet, now: dt.datetime) -> dict[str, object]:
    contract = sheet.contract
    return {
        "org": contract.org,
        "contract": contract.id,
        "version": contract.version,
        "state": sheet.state(now),
        "takes effect": said(sheet.effective_at),
        "valid until": said(contract.valid_until),
        "days left": max(0, (contract.valid_until - now) // _DAY),
        "signed by": sheet.row["signed_by"],
        "fingerprint": str(sheet.row["fingerprint"])[:16],
    }


def _show_present(found: list[Sheet], now: dt.datetime) -> None:
    """The terms that hold, and each dimension's limit with whether the gate checks it today."""
    present = next(
        (sheet for sheet in found if sheet.state(now) in {"in-force", "expired", "unsigned"}), None
    )
    if present is None:
        return
    contract = present.contract
    show(_dimensions(contract), "table")
    sys.stdout.write("\n")
    show(_terms(contract), "table")
    sys.stdout.write("\n")


def _dimensions(contract: Contract) -> list[dict[str, object]]:
    return [
        {
            "dimension": dimension,
            "quota": shown(dimension, contract.quota.of(dimension)),
            "allowance": percent(contract.allowance_bp),
            "limit": shown(dimension, contract.limit.of(dimension)),
            "enforced today": "yes" if dimension in ENFORCED else "no: signed for, not metered yet",
        }
        for dimension in DIMENSIONS
    ]


def _terms(contract: Contract) -> list[dict[str, object]]:
    rows: list[tuple[str, object]] = [
        ("contract", f"{contract.id} version {contract.version}"),
        ("warm reserve", percent(contract.warm_reserve_bp)),
        ("price per month", f"{contract.price_eur_cents_month / 100:.2f} EUR"),
        ("owner", contract.owner.person),
        ("technical", ", ".join(person.person for person in contract.technical) or None),
        ("valid", f"{said(contract.valid_from)} to {said(contract.valid_until)}"),
    ]
    for pool, override in contract.pools.items():
        numbers = {
            name: value for name, value in msgspec.structs.asdict(override).items() if value is not None
        }
        rows.append((f"pool {pool}", ", ".join(f"{name} {value}" for name, value in numbers.items()) or None))
    return [{"term": name, "value": value} for name, value in rows]


def _say_of(sheet: Sheet, now: dt.datetime) -> None:
    contract = sheet.contract
    here = f"{contract.org}: {contract.id} version {contract.version}"
    match sheet.state(now):
        case "expired":
            say(
                f"{here} expired at {said(contract.valid_until)}: nothing grows until a new contract is in force."
            )
        case "unsigned":
            say(f"{here} was never signed: nothing grows by it. Sign a new contract.")
        case "voided":
            say(f"{here} was voided ({sheet.row['code']}) and will not take effect.")
        case "to-come":
            limit = contract.limit
            say(
                f"{here} takes effect at {said(sheet.effective_at)}, in {max(0, (sheet.effective_at - now) // _DAY)} days: "
                f"limit {limit.vcpu} vCPU and {limit.memory_mib} MiB RAM."
            )
        case "in-force" | "superseded":
            pass


def _whole(sheet: Sheet, now: dt.datetime) -> dict[str, object]:
    contract = sheet.contract
    return {
        "org": contract.org,
        "contract": contract.id,
        "version": contract.version,
        "state": sheet.state(now),
        "fingerprint": sheet.row["fingerprint"],
        "accepted_at": sheet.row["accepted_at"],
        "effective_at": sheet.row["effective_at"],
        "voided_at": sheet.row["voided_at"],
        "voided_code": sheet.row["code"],
        "days_left": max(0, (contract.valid_until - now) // _DAY),
        "limit": contract.limit,
        "enforced_today": list(ENFORCED),
        "terms": contract,
        "signatures": sheet.signed.signatures,
    }
