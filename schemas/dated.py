"""Policies are dated data: each has a version and the instant from which it holds, and none is ever changed.

What was decided by a policy is judged by that policy for ever, so a new number is a new row with a later date. Whoever
schedules something keeps the version, and the instants that were computed from it, in the event that says so.
"""

import datetime as dt
from collections.abc import Iterable
from typing import Protocol, TypeVar


class Policy(Protocol):
    """What every dated policy says of itself."""

    @property
    def version(self) -> str:
        """Its name in events, in sentences and on the command line."""
        ...

    @property
    def valid_from(self) -> dt.datetime:
        """The instant from which it holds, until a later one does."""
        ...


P = TypeVar("P", bound=Policy)


class PolicyError(ValueError):
    """There is no such policy, or none that held then; the sentence says which there are."""

    code = "PolicyUnknown"


def at(policies: Iterable[P], now: dt.datetime) -> P:
    """The policy that holds at an instant: the newest that has begun; `PolicyError` for one before the oldest."""
    by_date = sorted(policies, key=lambda policy: policy.valid_from)
    begun = [policy for policy in by_date if policy.valid_from <= now]
    if not begun:
        oldest = by_date[0]
        raise PolicyError(
            f"No policy is known that held on {now:%Y-%m-%d}: the oldest, {oldest.version}, holds from "
            f"{oldest.valid_from:%Y-%m-%d} on. Choose one by its version."
        )
    return begun[-1]


def named(policies: Iterable[P], version: str) -> P:
    """The policy of this version, whenever it holds or held; `PolicyError` that names those there are."""
    known = {policy.version: policy for policy in policies}
    if version not in known:
        raise PolicyError(f"{version!a:.60} is no policy: choose {', '.join(known)}.")
    return known[version]


__all__ = ["Policy", "PolicyError", "at", "named"]
