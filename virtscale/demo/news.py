"""The last things that happened to a pool, in a few words each."""

from collections import deque
from typing import Final

from events.envelope import Recorded
from events.fact import Fact
from events.forecast import ForecastMade
from events.gate import DrainCancelled, DrainOrdered, GateDecided, SaveOrdered, WakeOrdered
from events.signal import SignalFound, SignalLost
from events.vm import VmAnnounced, VmQuiesced, VmSaved, VmUnready, VmWakeFailed

LINES: Final = 4


class News:
    """The newest lines, and the pool's newest forecast."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {
            *(ForecastMade, GateDecided, VmAnnounced, VmQuiesced, VmSaved, VmUnready, VmWakeFailed),
            *(SignalLost, SignalFound),
        }
    )

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=LINES)
        self.forecasts: dict[tuple[str, str], ForecastMade] = {}
        self.forecasts_made = 0

    def apply(self, recorded: Recorded) -> None:
        """The fold now includes the event."""
        fact = recorded.fact
        if isinstance(fact, ForecastMade):
            self.forecasts_made += 1
            self.forecasts[fact.org, fact.pool] = fact
        words = _words(fact)
        if words:
            self.lines.append(f"{recorded.seq:>6}  {recorded.stored_at:%H:%M:%S}  {words}")


def _words(fact: Fact) -> str:
    match fact:
        case ForecastMade(reason=reason, target=target, reserve=reserve, staying=staying):
            return f"forecast {reason}: {target} VMs and {reserve} in reserve, {staying} stay awake"
        case GateDecided(orders=orders, answers=answers):
            return ", ".join(_counted(orders) + [f"{one.outcome}: {one.code}" for one in answers])
        case VmAnnounced(vm=vm):
            return f"{vm} serves"
        case VmQuiesced(vm=vm):
            return f"{vm} sleeps"
        case VmSaved(vm=vm, image_bytes=image_bytes):
            return f"{vm} sleeps on disk, {image_bytes / 2**20:.0f} MiB"
        case VmUnready(vm=vm, code=code) | VmWakeFailed(vm=vm, code=code):
            return f"{vm} did not come: {code}"
        case SignalLost(code=code):
            return f"signal lost: {code}"
        case SignalFound():
            return "signal found again"
        case _:
            return ""


_ORDERS: Final = {
    WakeOrdered: "wakes",
    DrainOrdered: "drains",
    DrainCancelled: "takes back",
    SaveOrdered: "saves",
}


def _counted(orders: tuple[object, ...]) -> list[str]:
    """`gate wakes 2 VMs`, for the orders that a person asks about."""
    found: list[str] = []
    for kind, verb in _ORDERS.items():
        count = sum(isinstance(order, kind) for order in orders)
        if count:
            found.append(f"gate {verb} {count} VM{'' if count == 1 else 's'}")
    return found
