"""One thing that befell a VM, in words, and the mail that names many of them."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from events.ids import derive
from events.mail import trouble_id
from services.notifier.bulletins import Bulletin
from services.notifier.errand import Errand, minute, span, when

MOST_NAMED: Final = 200
"""In one mail. Each has at most some 700 bytes of text, so that a mail stays below 200 KB in base64."""

Sort = Literal["drift", "backup", "memory", "reboot"]

_ADVICE: Final[dict[Sort, str]] = {
    "drift": (
        "What is otherwise than the ledger has it: `virtscale vm drift` lists all that is so now. Whoever changed a domain or a disk by "
        "hand takes it back, or asks the operators of the platform; no worker decides whose version is right."
    ),
    "backup": (
        "A night without a backup: `virtscale vm copies ORG/VM` says how old the latest is. Once the cause is gone, "
        "`virtscale vm backup ORG/VM` makes one by day; the next night is tried anyway."
    ),
    "memory": "A guest out of memory: `virtscale vm show ORG/VM` has the advice. Until tomorrow no more is mailed about it.",
    "reboot": "A reboot that nobody ordered: the guest's own log says why, and `virtscale vm show ORG/VM` how it is now.",
}

_WIDTH: Final = 76
_MOST_TEXT: Final = 200


@dataclass(frozen=True, slots=True)
class Misfortune:
    """What befell one VM, or is over."""

    sort: Sort
    vm: str
    brief: str
    """Behind the VM's name, where the mail names nothing else."""
    sentence: str
    detail: str
    """When, and what becomes of it by itself."""
    at_ns: int
    """When it was stored."""


def clipped(text: str) -> str:
    """What a host or a guest said, in one line that is not too long."""
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= _MOST_TEXT else f"{line[: _MOST_TEXT - 3]}..."


def errand(bulletin: Bulletin[Misfortune]) -> Errand:
    """The mail that names them."""
    org, told = bulletin.org, bulletin.items
    name = derive("troubles", bulletin.person, *told)
    return Errand(
        place=bulletin.place,
        org=org,
        person=bulletin.person,
        name=name,
        message_id=trouble_id(org, name),
        requests=tuple(told),
        refused_at=when(min(one.at_ns for one in told.values())),
        digest_at=None,
        subject=_subject(org, tuple(told.values())),
        text=_text(bulletin),
        about="troubles",
    )


def _subject(org: str, told: tuple[Misfortune, ...]) -> str:
    if len(told) == 1:
        return f"{org}/{told[0].vm}: {told[0].brief}"
    vms = sorted({one.vm for one in told})
    if len(vms) == 1:
        return f"{org}/{vms[0]}: {len(told)} things to look at"
    return f"{len(told):,} things to look at on {len(vms):,} VMs of {org}"


def _text(bulletin: Bulletin[Misfortune]) -> str:
    org, told = bulletin.org, sorted(bulletin.items.values(), key=lambda one: (one.vm, one.at_ns))
    lines = list(_lines(told))
    lines += ["What you can do:", ""]
    for advice in dict.fromkeys(_ADVICE[one.sort] for one in told):
        lines += [advice, ""]
    lines += [
        (
            f"What befalls VMs of {org} until {minute(when(bulletin.next_ns))} is told in one mail then, and so every "
            f"{span(bulletin.period_seconds)} while there is more."
        ),
        "",
        f"Virtscale wrote this because the contract of {org} names you. The ledger holds the same.",
        "",
    ]
    return "\n".join(
        line
        if line.startswith("  ")
        else textwrap.fill(line, _WIDTH, break_long_words=False, break_on_hyphens=False)
        for line in lines
    )


def _lines(told: list[Misfortune]) -> Iterator[str]:
    for one in told:
        yield one.sentence
        yield f"  {one.detail}"
        yield ""
