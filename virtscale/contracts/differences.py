"""`virtscale contract diff`: what one document says otherwise than another."""

import re
from pathlib import Path

import msgspec

from events.sentences import percent
from schemas.capacity import DIMENSIONS
from schemas.contract.document import terms
from schemas.contract.terms import Contract
from virtscale.amounts import said, shown
from virtscale.contracts.shelf import version
from virtscale.contracts.signing import load
from virtscale.exits import EXIT_DONE
from virtscale.show import Format, say, show

_REFERENCE = re.compile(r"([a-z0-9-]{1,40})@([0-9]{1,7})", re.ASCII)

Line = dict[str, object]


def show_differences(directory: Path, before: str, after: str, form: Format) -> int:
    """Each field that differs stands on a line of its own; the exit code is 0 either way."""
    first, second = _document(directory, before), _document(directory, after)
    lines = differences(first, second)
    if lines or form == "json":
        show(lines, form)
    if not lines:
        say(f"{before} and {after} say the same.")
    return EXIT_DONE


def _document(directory: Path, word: str) -> Contract:
    """What a file says, or a document of the views as ORG@VERSION; a file of that name comes first."""
    found = _REFERENCE.fullmatch(word)
    if found is not None and not Path(word).exists():
        return version(directory, found.group(1), int(found.group(2))).contract
    return terms(load(Path(word))[0])


def differences(before: Contract, after: Contract) -> list[Line]:
    """Every field that differs: its name, what it was, what it becomes, and for amounts by how much."""
    lines: list[Line] = []
    for part, first, second in (
        ("quota", before.quota, after.quota),
        ("limit", before.limit, after.limit),
    ):
        for dimension in DIMENSIONS:
            old, new = first.of(dimension), second.of(dimension)
            if old != new:
                lines.append(
                    _line(
                        f"{part} {dimension}", shown(dimension, old), shown(dimension, new), _change(old, new)
                    )
                )
    words_before, words_after = _words(before), _words(after)
    for name in {**words_before, **words_after}:
        old, new = words_before.get(name), words_after.get(name)
        if old != new:
            lines.append(_line(name, old, new, None))
    return lines


def _line(field: str, before: str | None, after: str | None, change: str | None) -> Line:
    return {"field": field, "before": before, "after": after, "change": change}


def _change(old: int, new: int) -> str | None:
    return f"{(new - old) / old * 100:+.1f} %" if old else None


def _words(contract: Contract) -> dict[str, str]:
    """Every other field in words, by its name in the file."""
    words = {
        "id": contract.id,
        "version": str(contract.version),
        "org": contract.org,
        "allowance": percent(contract.allowance_bp),
        "warm reserve": percent(contract.warm_reserve_bp),
        "price per month": f"{contract.price_eur_cents_month // 100}.{contract.price_eur_cents_month % 100:02} EUR",
        "owner": contract.owner.person,
        "owner's commitment": contract.owner.commitment,
        "valid from": said(contract.valid_from),
        "valid until": said(contract.valid_until),
    }
    for place, person in enumerate(contract.technical, 1):
        words[f"technical {place}"] = f"{person.person} {person.commitment}"
    for pool, override in contract.pools.items():
        for name, value in msgspec.structs.asdict(override).items():
            if value is not None:
                words[f"pool {pool} {name}"] = f"{value} s"
    if contract.amends is not None:
        words["amends"] = contract.amends.fingerprint
        words["takes effect"] = said(contract.amends.effective_from)
    return words
