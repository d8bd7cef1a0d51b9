"""Amounts, durations and instants as people write them, and as they are shown to people."""

import datetime as dt
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from schemas.capacity import Capacity, Dimension
from virtscale.invocation import UsageError

WORDS: Final[dict[str, Dimension]] = {
    "vcpu": "vcpu",
    "memory": "memory_mib",
    "block": "block_bytes",
    "object": "object_bytes",
}
"""What a person calls the dimensions."""

_KIB: Final = 1024
_UNITS: Final = {
    "B": 1,
    "KiB": _KIB,
    "MiB": _KIB**2,
    "GiB": _KIB**3,
    "TiB": _KIB**4,
    "PiB": _KIB**5,
}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

MOST_FREEZE_DAYS: Final = 30
"""A freeze that lasts longer is a change of the contract, and that has a form of its own."""

_MOST_DIGITS: Final = 16


def quota(words: Iterable[str], present: Capacity) -> Capacity:
    """The amounts with what `vcpu=100`, `memory=480GiB` and so on say; several may stand in one word, with commas."""
    amounts = dict(present.items())
    for word in (part for one in words for part in one.split(",") if part):
        name, _, amount = word.partition("=")
        if name not in WORDS:
            raise UsageError(
                f"{word!a:.60} is no part of a quota: write {', '.join(f'{known}=…' for known in WORDS)}."
            )
        amounts[WORDS[name]] = _whole(word, amount) if name == "vcpu" else _sized(word, name, amount)
    return Capacity(*amounts.values())


def size_bytes(text: str) -> int:
    """The bytes that `40GiB` says; `UsageError` for anything else."""
    found = re.fullmatch(r"([0-9]+)([A-Za-z]+)", text, re.ASCII)
    if found is None or found.group(2) not in _UNITS or not _is_number(found.group(1)):
        raise UsageError(
            f"{text!a:.60} is no size of a disk: write a whole number and one of {', '.join(_UNITS)}, as 40GiB."
        )
    return int(found.group(1)) * _UNITS[found.group(2)]


def _whole(word: str, amount: str) -> int:
    if not _is_number(amount):
        raise UsageError(f"{word!a:.60} has no whole number of vCPU: write vcpu=100.")
    return int(amount)


def _sized(word: str, name: str, amount: str) -> int:
    found = re.fullmatch(r"([0-9]+)([A-Za-z]+)", amount, re.ASCII)
    unit = found.group(2) if found else ""
    if found is None or unit not in _UNITS or not _is_number(found.group(1)):
        example = "memory=480GiB" if name == "memory" else f"{name}=10TiB"
        raise UsageError(
            f"{word!a:.60} has no amount: write a whole number and one of {', '.join(_UNITS)}, as {example}."
        )
    amount_bytes = int(found.group(1)) * _UNITS[unit]
    if name != "memory":
        return amount_bytes
    if amount_bytes % _UNITS["MiB"]:
        raise UsageError(f"{word!a:.60} is no whole number of MiB, in which memory is counted.")
    return amount_bytes // _UNITS["MiB"]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS


def shown(dimension: Dimension, amount: int) -> str:
    """The amount with its unit: `480 GiB`, and `110 vCPU`."""
    if dimension == "vcpu":
        return f"{amount} vCPU"
    left = amount * (_UNITS["MiB"] if dimension == "memory_mib" else 1)
    units = [unit for unit, size in _UNITS.items() if left and left % size == 0]
    unit = units[-1] if units else "B"
    return f"{left // _UNITS[unit]} {unit}"


def basis_points(percent: Decimal, what: str) -> int:
    """A percentage in hundredths of a percent; `UsageError` where it is none, or finer than that."""
    scaled = percent * 100
    if not scaled.is_finite() or scaled != scaled.to_integral_value() or not 0 <= scaled <= 10_000:  # noqa: PLR2004
        raise UsageError(
            f"{percent} is no {what}: write percent with at most two digits behind the point, as 7.5."
        )
    return int(scaled)


def cents(euros: Decimal) -> int:
    """An amount of EUR in cents; `UsageError` where it is negative or finer than a cent."""
    scaled = euros * 100
    if not scaled.is_finite() or scaled != scaled.to_integral_value() or not 0 <= scaled <= 2**53:
        raise UsageError(
            f"{euros} is no price: write EUR with at most two digits behind the point, as 2500.50."
        )
    return int(scaled)


def seconds(duration: str) -> int:
    """`90s`, `15m`, `2h` or `3d` in seconds; more than 30 days are refused."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", duration, re.ASCII)
    if found is None or int(found.group(1)) == 0:
        raise UsageError(f"{duration!a:.40} is no duration: write 90s, 15m, 2h or 3d.")
    total = int(found.group(1)) * _SECONDS[found.group(2)]
    most = MOST_FREEZE_DAYS * _SECONDS["d"]
    if total > most:
        raise UsageError(
            f"{duration} are {total} seconds; a freeze lasts at most {MOST_FREEZE_DAYS} days ({most} seconds)."
        )
    return total


def instant(text: str, what: str) -> dt.datetime:
    """`2026-12-01`, which begins at midnight UTC, or `2026-12-01T09:00:00Z`; `UsageError` for anything else."""
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        found = None
    dated = found is not None and len(text) == len("2026-12-01")
    if found is None or not (dated or text.endswith("Z")) or found.microsecond:
        raise UsageError(
            f"{text!a:.40} is no {what}: write 2026-12-01, or 2026-12-01T09:00:00Z; all times are UTC."
        )
    return found.replace(tzinfo=dt.UTC)


def said(when: dt.datetime) -> str:
    """An instant for people, in whole seconds."""
    return when.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
