"""Seeds that are run for ever: what each taught when it broke a law, and those that catch what is broken on purpose."""

from typing import Final

KEPT: Final[dict[int, str]] = {
    13: "a load that stays high asks for ever: a world comes to rest only when its metrics do",
    136: "a boot was defined for longer than its order was good for, and was started all the same",
    152: "the same in another story: the deadline must be looked at right before the effect",
    1324: "a step was chosen, the connection was waited for, and the ledger had moved on meanwhile",
}
"""Each was a bug, of the workers or of the simulation itself, and is none any more.

All are of the time when every world was a long one, nobody ruled, and many had one host only; they are run as such:
`make simulate SEED=13 ARGS="--length long --plain"`.
A change elsewhere may turn a seed into another story; the rules test beside the bug is what holds the bug away.
"""

KEPT_LATER: Final[dict[int, str]] = {
    68: "an announcer's clock was set forward, and sessions were cut off at once",
    122: "signal's clock was set back, and for half an hour nothing that it saw was in any window",
    387: "a clock that is two seconds off halves a drain of one second",
    508: "a gate whose clock was ahead opened a breaker, and its pool was locked out for as long",
    736: "the bus's clock was set forward by half an hour and back: ticks of that time were none, and are told again",
    1165: "a gate opened a breaker of a host that was fenced meanwhile, which it had not read",
    1174: "the same as 736 in another story",
    300415: "the bus's clock was ahead as it stored refusals, and their digest was an hour late",
    300820: "a waker's clock was ahead, its next life's was not: the VM is a stray until it is found",
}
"""Kept too, of the time when clocks were first set, as the short worlds they are."""

KEPT_BRIEF: Final[dict[int, str]] = {
    228630: "a waker put a guest to sleep and died before it said so: its next life carries out the order, which is open",
    239854: "the same in another story",
}
"""Kept too, as what they are: `make simulate SEED=228630 ARGS="--length brief"`."""

BREAKS: Final[dict[str, int]] = {
    "the fence": 0,
    "the fence and the chain": 195,
    "the reservation ids": 215,
    "through": 0,
    "freezes": 8,
    "void orders": 50,
    "the release at a fence": 2,
    "releasing once": 12,
    "an addendum's day": 2,
    "an addendum's end": 0,
    "revocation": 48,
    "cordons": 2,
    "permits": 0,
    "the look at a bus that was restarted": 0,
    "the time in a leaf": 0,
    "the order of what is sealed": 0,
    "the refreshing of a woken guest": 3,
    "the boot of a woken guest": 122,
    "the clock of a woken guest": 3,
    "the end of a former pin": 3,
    "the bounds of a forecast": 0,
    "the count of failures": 16,
    "open breakers": 16,
    "the end of a breaker": 16,
    "the first time of a breaker": 16,
    "one replacement": 11,
    "replacing once": 11,
    "the release of a failed wake": 2,
    "the batch": 48,
    "the floor": 9,
    "the clipping of a refill": 17,
    "the refill": 2,
    "the deadline of an order": 2,
    "the moment in an id": 2,
    "the time of sessions": 3,
    "the time of ticks": 39,
    "ticks once": 0,
    "windows to come": 16,
    "cooldowns to come": 114,
    "breakers to come": 24,
    "thaws to come": 12,
}
"""What `test_can_fail.py` and `test_can_fail_later.py` break, and the seed that catches it."""
