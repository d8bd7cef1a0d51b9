"""Who is still to go to disk: requests to save that stand, and hosts where that failed lately, folded from the ledger.

A host writes a few guests at a time, so the gate orders so many, and the next when one has its outcome. Those that wait meanwhile
sleep in RAM and can be woken: demand that comes back finds them, and ends the request.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Final

from events.ahead import is_to_come
from events.envelope import Recorded
from events.fences import Fences
from events.gate import BootOrdered, GateDecided, SaveOrdered, WakeOrdered
from events.host import HostFenced, HostRemoved
from events.save import SaveRequested
from events.scale import Origin
from events.vm import VmFoundAwake, VmSaved, VmSaveFailed, VmStopped

_FIRST: Final = dt.timedelta(minutes=1)
_LONGEST: Final = dt.timedelta(hours=1)
_MOST_DOUBLINGS: Final = 6
"""A minute doubled six times is 64 minutes, which the longest is below."""

_OF_THE_HOST: Final = frozenset({"disk-full"})
"""Codes that say something of the host's disk, and so of every pool there; others are of the pool's guests."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A request that was granted, and whose VMs are not all ordered yet. It holds until a newer one of the pool, or a wake."""

    request: str
    seq: int
    pool: str
    paused: int
    origin: Origin
    left: int
    """VMs that were granted and not ordered yet."""
    before: int
    """Only who slept when it was granted; who fell asleep later, nobody asked about."""


@dataclass(frozen=True, slots=True)
class _Asked:
    id: str
    wish: SaveRequested


@dataclass(frozen=True, slots=True)
class _Way:
    """A save under way."""

    order: str
    pool: str
    host: str
    seq: int


@dataclass(frozen=True, slots=True)
class _Held:
    failures: int
    seq: int
    at: dt.datetime
    until: dt.datetime


_Where = tuple[str, str, str]
"""A host, and the org and pool; the last two empty where it is held back for everybody."""


@dataclass(slots=True)
class _Desk:
    """One org's part."""

    through: int = 0
    asked: dict[int, _Asked] = field(default_factory=dict[int, _Asked])
    standing: dict[str, Standing] = field(default_factory=dict[str, Standing])


class Saves:
    """Every pool's standing request to save, and the hosts that are held back."""

    def __init__(self) -> None:
        self._fences = Fences()
        self._desks: dict[str, _Desk] = {}
        self._ways: dict[tuple[str, str], _Way] = {}
        self._held: dict[_Where, _Held] = {}
        self._open: dict[str, None] = {}
        self._stirred: dict[str, int] = {}
        self._freed: dict[str, int] = {}
        self.changed = 0
        """Where in the ledger a request that stands, or a save under way, was last changed."""

    def orgs(self) -> Iterable[str]:
        """Orgs with a request that stands."""
        return self._open.keys()

    def standing(self, org: str) -> Iterable[Standing]:
        """The org's requests that stand, one of each pool at most."""
        desk = self._desks.get(org)
        return tuple(desk.standing.values()) if desk else ()

    def held_until(self, org: str, pool: str, host: str, now: dt.datetime) -> dt.datetime | None:
        """Until when nothing of the pool is saved on the host; None where nothing holds it back."""
        held = (self._held.get(where) for where in ((host, "", ""), (host, org, pool)))
        holding = (one for one in held if one is not None and now < one.until and not is_to_come(one.at, now))
        return max((one.until for one in holding), default=None)

    def since(self, seq: int) -> tuple[list[str], list[str]]:
        """Orgs of which a request stands that a decision behind that sequence may have changed, and hosts where a save ended since."""
        orgs = takewhile(lambda org: self._stirred[org] > seq, reversed(self._stirred))
        hosts = takewhile(lambda host: self._freed[host] > seq, reversed(self._freed))
        return [org for org in reversed(list(orgs)) if org in self._open], list(hosts)[::-1]

    def apply(self, recorded: Recorded) -> None:
        """The requests and hosts now include the event."""
        match recorded.fact:
            case SaveRequested() as wish:
                desk = self._desk(wish.org)
                if recorded.seq > desk.through:
                    desk.asked[recorded.seq] = _Asked(recorded.id, wish)
            case GateDecided() as decided if self._fences.pass_on(recorded, decided):
                self._decide(decided, recorded.seq)
                if decided.org in self._open:
                    self._note(self._stirred, decided.org, recorded.seq)
            case VmSaved(org=org, vm=vm, order=order):
                self._free(org, vm, recorded.seq)
                self._saved(org, self._end(org, vm, order))
            case VmSaveFailed(org=org, vm=vm, order=order, code=code, observed_at=at):
                self._free(org, vm, recorded.seq)
                self._failed(org, self._end(org, vm, order), code, at, recorded.seq)
            case VmStopped(org=org, vm=vm) | VmFoundAwake(org=org, vm=vm):
                self._free(org, vm, recorded.seq)
            case HostFenced(host=host) | HostRemoved(host=host):
                self._note(self._freed, host, recorded.seq)
                self._ways = {key: way for key, way in self._ways.items() if way.host != host}
                self._held = {where: held for where, held in self._held.items() if where[0] != host}
            case _:
                pass

    def _desk(self, org: str) -> _Desk:
        desk = self._desks.get(org)
        if desk is None:
            desk = self._desks[org] = _Desk()
        return desk

    def _free(self, org: str, vm: str, seq: int) -> None:
        """The host where the VM was to be saved may have a hand free."""
        way = self._ways.get((org, vm))
        if way is not None:
            self._note(self._freed, way.host, seq)

    def _note(self, changed: dict[str, int], name: str, seq: int) -> None:
        changed.pop(name, None)
        changed[name] = self.changed = seq

    def _decide(self, decided: GateDecided, seq: int) -> None:
        """What was granted stands until all of it is ordered; a wake that was asked for later ends it."""
        org, desk = decided.org, self._desk(decided.org)
        answered = {answer.request: answer.request_seq for answer in decided.answers}
        woken: dict[str, int] = {}
        ordered: Counter[str] = Counter()
        for order in decided.orders:
            match order:
                case WakeOrdered() | BootOrdered() if order.purpose == "serve":
                    woken[order.pool] = max(answered.get(order.request, 0), woken.get(order.pool, 0))
                    desk.standing.pop(order.pool, None)
                case SaveOrdered():
                    self._ways[org, order.vm] = _Way(order.id, order.pool, order.host, seq)
                    ordered[order.request] += 1
                case _:
                    pass
        for answer in decided.answers:
            asked = desk.asked.get(answer.request_seq)
            if asked is None:
                continue
            wish = asked.wish
            desk.standing.pop(wish.pool, None)
            if answer.granted and woken.get(wish.pool, -1) < answer.request_seq:
                desk.standing[wish.pool] = Standing(
                    asked.id, answer.request_seq, wish.pool, wish.paused, wish.origin, answer.granted, seq
                )
        for pool, one in list(desk.standing.items()):
            left = one.left - ordered[one.request]
            if left > 0:
                desk.standing[pool] = replace(one, left=left)
            else:
                del desk.standing[pool]
        desk.through = max(desk.through, decided.through)
        desk.asked = {at: one for at, one in desk.asked.items() if at > desk.through}
        if desk.standing:
            self._open[org] = None
        else:
            self._open.pop(org, None)
            self._stirred.pop(org, None)

    def _end(self, org: str, vm: str, order: str) -> _Way | None:
        """The save under this order, which is over; None where there is none."""
        way = self._ways.get((org, vm))
        if way is None or way.order != order:
            return None
        return self._ways.pop((org, vm))

    def _saved(self, org: str, way: _Way | None) -> None:
        """Saving works there again, unless something failed since it was ordered."""
        if way is None:
            return
        for where in ((way.host, "", ""), (way.host, org, way.pool)):
            held = self._held.get(where)
            if held is not None and way.seq > held.seq:
                del self._held[where]

    def _failed(self, org: str, way: _Way | None, code: str, at: dt.datetime, seq: int) -> None:
        """Nothing is tried there for a while, twice as long as the last time; several at once are one failure."""
        if way is None:
            return
        where = (way.host, "", "") if code in _OF_THE_HOST else (way.host, org, way.pool)
        former = self._held.get(where)
        if former is not None and way.seq <= former.seq:
            return
        failures = 0 if former is None else former.failures
        lasts = min(_LONGEST, _FIRST * 2 ** min(failures, _MOST_DOUBLINGS))
        self._held[where] = _Held(failures + 1, seq, at, at + lasts)
