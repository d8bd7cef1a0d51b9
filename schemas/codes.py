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
    "HostsFull": "No host has the memory for another VM: add a host, or stop VMs that are not needed.",
    "PoolFull": "The pool would have more VMs awake than its own maximum: raise `max_vms`, or quiesce some first.",
    "BatchTooLarge": "One request moves at most 64 VMs: ask again for the rest.",
    "ContractMissing": "The org has no contract in force.",
    "ContractExpired": "The contract of the org is not valid at this time.",
    "PoolUnknown": "The org has no such pool.",
    "Cooldown": "A trigger already scaled this pool within its cooldown.",
    "StrayAwake": "A VM of the org is awake that nobody ordered; growth waits until it sleeps, which it was told to.",
    "AlreadyAtDesired": "The pool already has what was asked for.",
    "AlreadyAtMin": "The pool may not go below its own minimum.",
    "NothingServing": "No other VM of the pool is serving.",
}
