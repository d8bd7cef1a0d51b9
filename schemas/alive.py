"""A sign of life: what a waker answers whoever asks whether it is there. It says nothing about any VM."""

from typing import Final

from schemas.moment import Moment
from schemas.names import PLATFORM
from schemas.struct import Value

ALIVE: Final = "alive"


class Alive(Value, frozen=True):
    """The waker works; whether its hypervisor answers it, and since when that is so or not."""

    connected: bool
    since: Moment


def subject(host: str, asker: str = "*") -> str:
    """Where the waker of a host hears the question: `alive.<org>.<asker>.<host>`, shaped as the intake's subjects are."""
    return f"{ALIVE}.{PLATFORM}.{asker}.{host}"
