"""What hosts said of themselves while no VM on them was awake: how long that was, how deep they slept, what they drew."""

import datetime as dt
from collections import Counter
from fractions import Fraction
from typing import Final

from events.envelope import Recorded
from events.fact import Fact
from events.host import HostIdled
from replay.figures.span import Span

_MILLISECOND: Final = dt.timedelta(milliseconds=1)


class Draw:
    """Idle times that were told within a span. One that is told again, and longer, takes the place of its first telling."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset({HostIdled})

    def __init__(self, span: Span) -> None:
        self._span = span
        self._told: dict[tuple[str, dt.datetime], HostIdled] = {}

    @property
    def hosts(self) -> int:
        """Hosts that were idle."""
        return len({host for host, _ in self._told})

    @property
    def idle_ms(self) -> int:
        """For how long hosts were idle, one beside the other."""
        return sum(map(_length_ms, self._told.values()))

    @property
    def milliwatts(self) -> int | None:
        """The mean draw of one idle host, over those times in which energy was measured; None where none was."""
        measured = [told for told in self._told.values() if told.energies and _length_ms(told)]
        millijoules = sum(_millijoules(told) for told in measured)
        milliseconds = sum(map(_length_ms, measured))
        return round(Fraction(millijoules * 1000, milliseconds)) if milliseconds else None

    def residency(self) -> dict[str, Fraction]:
        """The share of idle CPU time in each idle state, of times in which the kernel counted; the largest first."""
        counted = [told for told in self._told.values() if told.residencies and told.cpus]
        whole = sum(_length_ms(told) * told.cpus for told in counted)
        spent: Counter[str] = Counter()
        for told in counted:
            for one in told.residencies:
                spent[one.state] += one.milliseconds
        return {state: Fraction(took, whole) for state, took in spent.most_common()} if whole else {}

    def apply(self, recorded: Recorded) -> None:
        """The fold now includes the event."""
        fact = recorded.fact
        if not isinstance(fact, HostIdled) or not self._span.holds(recorded.stored_ns):
            return
        key = (fact.host, fact.idle_from)
        known = self._told.get(key)
        if known is None or known.idle_until < fact.idle_until:
            self._told[key] = fact


def _millijoules(told: HostIdled) -> int:
    """The widest meter's word: a platform's own, or packages and their memory. Cores are within their package."""
    whole = [one.millijoules for one in told.energies if one.zone.startswith("psys")]
    parts = [one.millijoules for one in told.energies if one.zone.startswith(("package", "dram"))]
    return sum(whole or parts or [one.millijoules for one in told.energies])


def _length_ms(told: HostIdled) -> int:
    return max(0, (told.idle_until - told.idle_from) // _MILLISECOND)
