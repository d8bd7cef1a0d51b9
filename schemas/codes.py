"""Reason codes: stable words that programs may compare, each with what it means."""

from typing import Final, Literal

Outcome = Literal["admitted", "partial", "refused", "unchanged"]
"""What the gate answered: all granted, some granted, nothing granted, nothing to do."""

Code = Literal[
    "Granted",
    "CapExceeded",
    "HostsFull",
    "PoolFull",
    "BatchTooLarge",
    "ContractMissing",
    "ContractExpired",
    "PoolUnknown",
    "Cooldown",
    "StrayAwake",
    "AlreadyAtDesired",
    "AlreadyAtMin",
    "NothingServing",
]

MEANING: Final[dict[str, str]] = {
    "Granted": "The request was granted in full.",
    "CapExceeded": "The org would be past its signed cap.",
    "HostsFull": "No host has the memory for another VM.",
    "PoolFull": "The pool would hold more VMs than its own maximum.",
    "BatchTooLarge": "One request may start at most 64 VMs.",
    "ContractMissing": "The org has no contract in force.",
    "ContractExpired": "The contract of the org is not valid at this time.",
    "PoolUnknown": "The org has no such pool.",
    "Cooldown": "A trigger already scaled this pool within its cooldown.",
    "StrayAwake": "A VM of the org is awake that nobody ordered; growth waits until it sleeps.",
    "AlreadyAtDesired": "The pool already has what was asked for.",
    "AlreadyAtMin": "The pool is at its minimum.",
    "NothingServing": "The pool has no serving VM to quiesce.",
}
