"""What the deleter asks of whoever tells people of alerts; an Alertmanager answers it, and the simulation does."""

import datetime as dt
from dataclasses import dataclass
from typing import Protocol

ORG_LABEL = "org"
VM_LABEL = "vm"
"""The labels by which an alert is a VM's: it must carry both."""


class SilenceError(Exception):
    """The alerts may not be silenced as was asked; what was asked may still take effect later."""

    code = "Silence"

    def __init__(self, text: str, *, lost: bool = False, final: bool = False) -> None:
        super().__init__(text)
        self.lost = lost
        """Nobody answered in time: it says nothing about the silence."""
        self.final = final
        """Trying again cannot help."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts of one VM of which nobody is to be told, because it is being deleted."""

    org: str
    vm: str
    deletion: str
    """The deletion's id: by it a silence is found again."""
    starts_at: dt.datetime
    """Not before this instant; where it is over, from now on."""
    ends_at: dt.datetime
    created_by: str
    comment: str
    """What people read about it; the deletion's id is put behind it."""

    @property
    def matchers(self) -> tuple[tuple[str, str], ...]:
        """The labels that an alert must have, with their values."""
        return labels(self.org, self.vm)


@dataclass(frozen=True, slots=True)
class Found:
    """A silence that is in force, or will be."""

    id: str
    starts_at: dt.datetime
    ends_at: dt.datetime
    begun: bool


class Silences(Protocol):
    """Where alerts are silenced.

    Every call ends in bounded time or raises `SilenceError`; then its effect may still land later.
    """

    async def set(self, silence: Silence) -> str:
        """The deletion has this one silence, whatever it had before; its id, which may be another one than before.

        Safe to repeat, by another life too: what a former call made is found by the deletion's id, and changed where it says
        otherwise. The trap: an Alertmanager that is killed forgets what it was told since it last wrote its silences down, up to
        15 minutes. So ask again when the silence is to begin, and whenever it matters; what is as it should be costs one question.
        A silence whose end is over is refused for good (`final`).
        """
        ...

    async def find(self, org: str, vm: str, deletion: str) -> tuple[Found, ...]:
        """The deletion's silences that have not ended, by id: none, one, or more where a call of which nobody heard landed late."""
        ...

    async def end(self, id: str) -> None:
        """The silence is over, and the VM's alerts are told again; one that is over already, or forgotten, stays so.

        Ask `find` for the ids: then one that landed unheard ends too.
        """
        ...


def labels(org: str, vm: str) -> tuple[tuple[str, str], ...]:
    """The labels, with their values, that an alert must have to be the VM's, in alphabetical order."""
    return ((ORG_LABEL, org), (VM_LABEL, vm))
