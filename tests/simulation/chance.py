"""Chance, drawn from one seed: which faults a world knows at all, how often each strikes, and when.

Every part of a world draws from a stream of its own, so that one draw more in one part does not shift all others.
A world knows about half of the faults: worlds that have everything go wrong at once hide what one fault alone does.
"""

import random
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

from schemas.pool import Placement


class Chance:
    """One part's stream. In a calm world no fault strikes, while latencies go on being drawn."""

    def __init__(self, seed: int, part: str, weather: "Weather") -> None:
        self.rng = random.Random(f"{seed}/{part}")
        self._draw = self.rng.random
        self._weather = weather

    def strikes(self, rate: float) -> bool:
        """Whether a fault of this rate strikes now; never in a calm world."""
        if self._draw() >= rate or self._weather.calm:
            return False
        self._weather.strikes += 1
        return True

    def seconds(self, least: float, most: float) -> float:
        """A duration; short ones are likelier than long ones."""
        return least + (most - least) * self._draw() ** 2


Length = Literal["brief", "short", "long"]


@dataclass(slots=True)
class Weather:
    """Shared by all parts: whether faults strike at all, and how many have."""

    calm: bool = False
    strikes: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What one world is like. Rates are probabilities per opportunity, `_seconds` mean times between strikes."""

    seed: int
    dedup: bool
    hosts: int
    orgs: int
    pools: tuple[str, ...]
    """Of each org."""
    crews: int
    """Programs over which the workers are spread at most; 0 when each worker has one of its own."""
    chaos_seconds: float
    quiet_seconds: float
    """Nothing new and nothing on its way for so long is rest; the waker compares everything each 60 s."""
    boots: float
    """A guest's boot takes so many times as long as usual."""
    digest_seconds: int
    """The period of an episode of refusals: a world's storms last through several."""
    # what is drawn from, once for each client or pool
    ask_seconds: tuple[float, ...]
    """Mean times between two questions of a client."""
    stock_vms: tuple[int, ...]
    drain_seconds: tuple[int, ...]
    readiness_seconds: tuple[int, ...]
    order_seconds: tuple[int, ...]
    boot_seconds: tuple[int, ...]
    # who rules
    placements: tuple[Placement, ...]
    overrides: bool
    """Contracts have numbers of their own for pools."""
    rule_seconds: float
    """Mean time between two rulings that one operator asks for; 0 where nobody rules."""
    rulings: tuple[str, ...]
    """What is asked for, by lot: `authority.py`."""
    freeze_seconds: tuple[int, ...]
    seals: bool
    """There is a sealer, and nobody writes without its permit."""
    ends_older: bool
    """At last, where there is a sealer, the bus comes back with an older copy of its store."""
    stores: bool
    """VMs have disks, and there is a storage worker."""
    foresees: bool
    """Pools have a demand, and there is a forecaster."""
    archive_full: float
    """How often the archive's disk takes nothing more, for a while."""
    # the bus
    request_lost: float
    ack_lost: float
    stored_late: float
    append_slow: float
    tail_delayed: float
    tail_duplicated: float
    tail_reordered: float
    tail_dropped: float
    read_fails: float
    bus_outage_seconds: float
    # programs
    kill: float
    kill_seconds: float
    clocks_off: float
    # hypervisors
    effect_fails: float
    effect_hangs: float
    effect_silent: float
    connection_lost: float
    libvirtd_restart_seconds: float
    domain_crash_seconds: float
    domain_shutdown_seconds: float
    domain_paused_seconds: float
    domain_lost_seconds: float
    domain_woken_seconds: float
    host_reboot_seconds: float
    template_missing: float
    # guests
    guest_mute: float
    guest_reboots: float
    probe_lost: float
    # balancer, mail, metrics
    balancer_fails: float
    balancer_silent: float
    balancer_refuses: float
    balancer_restart_seconds: float
    relay_temporary: float
    relay_final: float
    relay_silent: float
    metrics_fail: float
    # what was added later, and is drawn apart
    clock_step_seconds: float
    """Mean time between two steps of some clock; 0 where nobody sets any."""
    bus_steps: bool
    """So is the bus's."""
    host_sick_seconds: float
    """Mean time until a host wakes nobody for a while, though it takes what it is told."""
    guests_unfit_seconds: float
    """The same for guests: those that wake are another boot than the one that slept."""
    leap_seconds: float = 0.0
    """Mean time between two leaps of all clocks: machines that were all suspended, for hours or days."""
    keeps: bool = False
    """Each org has a pool of VMs that are kept for their own sake, and there is a steward. Only where somebody asks for it."""


def keeping(plan: Plan) -> Plan:
    """The same world with VMs that are kept; in half of these worlds there are no others, and days go by."""
    rng = random.Random(f"{plan.seed}/keeps")
    kept = replace(plan, keeps=True, stores=True)
    if rng.random() < ALONE_SHARE:
        return replace(kept, pools=(), foresees=False, ends_older=False, leap_seconds=rng.choice((3.0, 6.0)))
    return kept


ALONE_SHARE: Final = 0.5
"""Of the worlds with kept VMs have no others: what leaps over days cuts off whoever is given seconds."""


_USUAL = {
    "request_lost": 0.05,
    "ack_lost": 0.08,
    "stored_late": 0.1,
    "append_slow": 0.1,
    "tail_delayed": 0.2,
    "tail_duplicated": 0.1,
    "tail_reordered": 0.2,
    "tail_dropped": 0.05,
    "read_fails": 0.1,
    "bus_outage_seconds": 72.0,
    "kill": 0.01,
    "kill_seconds": 24.0,
    "clocks_off": 1.0,
    "effect_fails": 0.15,
    "effect_hangs": 0.08,
    "effect_silent": 0.12,
    "connection_lost": 0.03,
    "libvirtd_restart_seconds": 60.0,
    "domain_crash_seconds": 24.0,
    "domain_shutdown_seconds": 48.0,
    "domain_paused_seconds": 48.0,
    "domain_lost_seconds": 120.0,
    "domain_woken_seconds": 54.0,
    "host_reboot_seconds": 144.0,
    "template_missing": 0.1,
    "guest_mute": 0.1,
    "guest_reboots": 0.1,
    "probe_lost": 0.2,
    "balancer_fails": 0.1,
    "balancer_silent": 0.1,
    "balancer_refuses": 0.1,
    "balancer_restart_seconds": 48.0,
    "relay_temporary": 0.4,
    "relay_final": 0.05,
    "relay_silent": 0.2,
    "metrics_fail": 0.2,
}
"""Each fault's usual rate; a world that knows it has it between a quarter and twice as often."""


LONG_EVERY: Final = 16
"""Of so many pairs of seeds one is a long world."""

OFTEN: Final[dict[Length, float]] = {"brief": 10.0, "short": 5.0, "long": 1.0}
"""What strikes out of the blue strikes so many times as often, the shorter a world is."""

BRIEF_SECONDS: Final = 8.0
"""The trouble of a brief world: for runs of very many, since no seed is brief by itself."""


SEALED_SHARE: Final = 0.5
"""Of the worlds: the others find what a sealer that stops the writers would hide."""


STORED_SHARE: Final = 0.5
"""Of the worlds, likewise."""


STEPPED_SHARE: Final = 0.3
"""Of the worlds have clocks that somebody sets; of a quarter of these, the bus's too."""


SICK_SHARE: Final = 0.2
"""Of the worlds have hosts that are sick at times, and so many others guests that wake unfit."""


FORESEEN: Final = 0.3
"""Of the worlds have a forecaster: a tick of one is a millisecond of work."""


def length_of(seed: int) -> Length:
    """How long the world with this seed is, unless somebody wants it otherwise.

    Many short worlds find more in the same time than few long ones; what needs minutes to go wrong needs those.
    """
    return "long" if seed // 2 % LONG_EVERY == 0 else "short"


RULINGS: Final = ("freeze", "paper", "key", "drain", "bury", "remove")
LIE: Final = "lie"
"""A host is declared dead that is not: only where the plan says so."""


def _powers(seed: int, *, short: bool) -> dict[str, Any]:
    """Hosts, and who rules over them and the orgs: drawn apart, so that all else in a plan is as it was without."""
    rng = random.Random(f"{seed}/powers")
    known = tuple(one for one in RULINGS if rng.random() < 0.5)
    lies = rng.random() < 0.15
    return {
        "hosts": rng.choice((2, 2, 2, 2, 2, 3)),
        "placements": ("fill", "spread"),
        "overrides": rng.random() < 0.3,
        "rulings": (*known, *((LIE,) if lies else ())),
        "rule_seconds": rng.choice((0.0, 6.0, 12.0) if short else (0.0, 20.0, 40.0)),
        "freeze_seconds": (1, 3, 8) if short else (5, 20, 60),
    }


def _added_later(seed: int, often: float) -> dict[str, Any]:
    """Clocks that are set, hosts that are sick, and guests that wake unfit: drawn apart, likewise."""
    rng = random.Random(f"{seed}/added later")
    steps, bus = rng.random() < STEPPED_SHARE, rng.random() < 1 / 4
    sick = rng.random()
    times = rng.choice((0.5, 1.0, 2.0))
    return {
        "clock_step_seconds": 30.0 / times / often if steps else 0.0,
        "bus_steps": steps and bus,
        "host_sick_seconds": 60.0 / times / often if sick < SICK_SHARE else 0.0,
        "guests_unfit_seconds": 60.0 / times / often if SICK_SHARE <= sick < 2 * SICK_SHARE else 0.0,
    }


_NOTHING_LATER: Final[dict[str, Any]] = {
    "clock_step_seconds": 0.0,
    "bus_steps": False,
    "host_sick_seconds": 0.0,
    "guests_unfit_seconds": 0.0,
}

_NO_POWERS: Final[dict[str, Any]] = {
    "placements": ("fill",),
    "overrides": False,
    "rulings": (),
    "rule_seconds": 0.0,
    "freeze_seconds": (),
}


def plan_of(
    seed: int, length: Length | None = None, *, powers: bool = True, seals: bool = True, steps: bool = True
) -> Plan:
    """The plan of the world with this seed: even seeds have deduplication, odd ones do without.

    Without `powers` it is a world of the time when nobody ruled and many had one host only, without `seals` one of the time
    when there was no sealer, and without `steps` one of the time when no clock was set and no host was sick.
    """
    length = length or length_of(seed)
    short = length != "long"
    rng = random.Random(f"{seed}/plan")
    share = rng.choice((0.0, 0.3, 0.5, 0.5, 0.7, 1.0))
    faults: dict[str, Any] = {}
    for field in fields(Plan):
        usual = _USUAL.get(field.name)
        if usual is None:
            continue
        known, times = rng.random() < share, rng.choice((0.25, 0.5, 1.0, 1.0, 2.0))
        if not known:
            faults[field.name] = 0.0
        elif field.name.endswith("_seconds"):
            faults[field.name] = usual / times / OFTEN[length]
        else:
            faults[field.name] = min(0.9, usual * times)
    hosts, orgs = rng.choice((1, 2)), rng.choice((1, 1, 2))
    drawn = random.Random(f"{seed}/seals")
    faults["seals"] = powers and seals and drawn.random() < SEALED_SHARE
    faults["stores"] = powers and random.Random(f"{seed}/stores").random() < STORED_SHARE
    faults["foresees"] = powers and random.Random(f"{seed}/foresees").random() < FORESEEN
    faults |= _added_later(seed, OFTEN[length]) if powers and steps else _NOTHING_LATER
    faults["archive_full"] = drawn.choice((0.0, 0.0, 0.02, 0.1))
    faults["ends_older"] = drawn.random() < 1 / 3
    faults |= {"hosts": hosts, **(_powers(seed, short=short) if powers else _NO_POWERS)}
    if short:
        return Plan(
            seed=seed,
            dedup=seed % 2 == 0,
            orgs=orgs,
            pools=("web",),
            crews=rng.choice((0, 2, 2, 3, 4)),
            chaos_seconds=rng.choice((12.0, 20.0, 40.0)) if length == "short" else BRIEF_SECONDS,
            quiet_seconds=10.0,
            boots=0.3,
            digest_seconds=12,
            ask_seconds=(2.0, 4.0, 8.0),
            stock_vms=(1, 2, 3),
            drain_seconds=(1, 2, 6),
            readiness_seconds=(4, 12),
            order_seconds=(2, 5, 15),
            boot_seconds=(8, 20),
            **faults,
        )
    return Plan(
        seed=seed,
        dedup=seed % 2 == 0,
        orgs=orgs,
        pools=("web", "jobs") if orgs == 1 else ("web",),
        crews=0,
        chaos_seconds=rng.choice((90.0, 150.0, 240.0)),
        quiet_seconds=70.0,
        boots=1.0,
        digest_seconds=60,
        ask_seconds=(6.0, 12.0, 30.0),
        stock_vms=(2, 3, 4),
        drain_seconds=(1, 5, 20),
        readiness_seconds=(5, 20),
        order_seconds=(5, 20, 60),
        boot_seconds=(20, 60),
        **faults,
    )
