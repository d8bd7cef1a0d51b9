"""The small worlds: a past, three requests, and how much may go wrong. Each is explored to its end."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from events.contract import ContractSubmitted
from events.fact import Fact
from events.freeze import FreezeRequested
from events.gate import GateDecided, SaveOrdered
from events.host import HostChangeRequested
from events.quiesce import QuiesceRequested
from events.save import SaveRequested
from events.scale import ScaleRequested
from events.stock import StockRequested
from schemas.capacity import Size
from schemas.contract.terms import fingerprint
from schemas.intake import Change
from schemas.names import PLATFORM
from services.gate.state import State
from tests import papers
from tests.given import NOW, ORG, Past
from tests.model.tidings import Ending

ONE = Size(name="one", vcpu=1, memory_mib=64)
BIG = Size(name="big", vcpu=2, memory_mib=64)


def _as_the_gate(decided: GateDecided) -> int | None:
    return decided.follows


@dataclass(frozen=True, slots=True)
class Protocol:
    """The parts that are tried: the project's own, or in a test one that is broken on purpose."""

    state: Callable[[], State] = State
    """The folds that a gate decides by."""
    expects: Callable[[GateDecided], int | None] = _as_the_gate
    """What a decision expects to be the last on its fence; None appends without a look."""


@dataclass(frozen=True, slots=True)
class World:
    """One configuration. `vcpu` is the envelope, reckoned by hand; memory is never what binds, but for hosts."""

    name: str
    past: Callable[[], Past]
    requests: tuple[Fact, ...]
    vcpu: int
    memory_mib: int = 1 << 20
    endings: tuple[Ending, ...] = ("up", "failed")
    bit_by_bit: bool = False
    """That a VM runs, that it answers and that it is announced are told apart, and other things happen in between."""
    crashes: int = 1
    unanswered: int = 0
    """Appends whose sender is told that nobody knows, besides those of a gate that crashed."""
    orgs: tuple[str, ...] = (ORG,)
    """Whose fences there are: the org's, and the platform's where hosts change."""
    late: int = 1
    """Outcomes that are told a second time, at any later moment."""
    protocol: Protocol = field(default_factory=Protocol)


def scale(
    key: str, pool: str = "web", add: int | None = 1, *, want: int | None = None, up_to: bool = False
) -> Fact:
    """A program wants more VMs."""
    return ScaleRequested(
        org=ORG,
        pool=pool,
        publisher="shop",
        key=key,
        origin="program",
        add=add if want is None else None,
        want=want,
        up_to=up_to,
        received_at=NOW,
        sample=None,
    )


def quiesce(key: str, pool: str = "web", count: int = 1) -> Fact:
    """A program wants fewer."""
    return QuiesceRequested(
        org=ORG,
        pool=pool,
        publisher="shop",
        key=key,
        origin="program",
        count=count,
        received_at=NOW,
        sample=None,
    )


def stock(key: str, pool: str = "web", vms: int = 1) -> Fact:
    """A program wants VMs that sleep."""
    return StockRequested(org=ORG, pool=pool, publisher="shop", key=key, vms=vms, received_at=NOW)


def save(key: str, pool: str = "web", paused: int = 0) -> Fact:
    """A program wants sleepers to be on disk."""
    return SaveRequested(
        org=ORG, pool=pool, publisher="shop", key=key, origin="program", paused=paused, received_at=NOW
    )


def freeze(key: str) -> Fact:
    """An operator wants all pools of the org to stand still."""
    return FreezeRequested(
        org=ORG,
        pool=None,
        publisher="operator",
        key=key,
        actor="ann",
        reason="audit",
        seconds=3600,
        received_at=NOW,
    )


def change(key: str, host: str, what: Change) -> Fact:
    """An operator wants a host to be declared dead, or to carry VMs again."""
    return HostChangeRequested(
        org=PLATFORM,
        host=host,
        change=what,
        publisher="operator",
        key=key,
        actor="ann",
        reason="smoke",
        received_at=NOW,
    )


def submit(key: str, vcpu: int) -> Fact:
    """An operator hands in a contract that both sides signed."""
    document = papers.signed(papers.terms(ORG, vcpu))
    return ContractSubmitted(
        org=ORG,
        publisher="operator",
        key=key,
        document=document,
        fingerprint=fingerprint(document.text),
        received_at=NOW,
    )


def two_fit() -> Past:
    """One pool of one vCPU each, and an envelope of two."""
    return Past().contract(vcpu=2).host().pool("web", ONE)


def one_fits() -> Past:
    """The same with an envelope of one."""
    return Past().contract(vcpu=1).host().pool("web", ONE)


def unsigned() -> Past:
    """One pool and nobody's contract, but the keys to sign one."""
    return Past().keys().host().pool("web", ONE)


def sleepers() -> Past:
    """An envelope of two, and three VMs that sleep."""
    return two_fit().asleep("web", 3)


def one_serves() -> Past:
    """An envelope of two; one VM serves and two sleep."""
    return two_fit().asleep("web", 2).serving("web", 1)


def one_saved() -> Past:
    """An envelope of one; one VM sleeps on disk and one in RAM."""
    past = one_fits().asleep("web", 2)
    since = past.fleet.vms[ORG, "web-1"].since_seq
    past.decided(SaveOrdered("a" * 32, "web-1", "web", "h1", since, "b" * 32))
    past.saved("web-1")
    return past


def two_pools() -> Past:
    """An envelope of two for a pool of small VMs and one of VMs that take all of it."""
    return Past().contract(vcpu=2).host().pool("web", ONE).pool("jobs", BIG)


def two_hosts() -> Past:
    """Two hosts with room for one VM each, and an envelope of two."""
    return Past().contract(vcpu=2).host("h1", 100).host("h2", 100).pool("web", ONE)


A, B, C = scale("a"), scale("b"), scale("c")
EAGER = scale("eager", add=2, up_to=True)
BOTH = (ORG, PLATFORM)
DEATH = (change("dead", "h1", "fence"), A, B)

QUICK = (
    World(
        "two want one, one fits; starts may be mute", one_fits, (A, B), 1, endings=("up", "failed", "unready")
    ),
    World("three want one, two fit", two_fit, (A, B, C), 2),
    World("two pools, the larger takes all", two_pools, (A, scale("j", "jobs")), 2),
    World("one serves; one more, one fewer", one_serves, (A, quiesce("q")), 2, unanswered=1),
    World("one more, and stock for one", one_fits, (A, stock("s")), 1, unanswered=1),
    World("a contract comes while two want one", unsigned, (submit("doc", 1), A, B), 1, endings=("up",)),
    World("a freeze comes while two want one", two_fit, (freeze("f"), A, B), 2, endings=("up",)),
    World("a host is declared dead, one wants one", two_hosts, DEATH[:2], 2, orgs=BOTH),
    World(
        "one sleeps on disk, the other shall; two want one", one_saved, (A, save("s"), B), 1, endings=("up",)
    ),
    World(
        "one wants one of three sleepers, and wakes are refused", sleepers, (A,), 1, endings=("up", "refused")
    ),
)
"""Small enough for every run of the tests."""

ALL = (
    *(replace(world, unanswered=1) for world in QUICK),
    World("three wake one, three sleep", sleepers, (A, B, C), 2, unanswered=1),
    World("three want one on two hosts", two_hosts, (A, B, C), 2, unanswered=1),
    World("two pools, three requests", two_pools, (A, B, scale("j", "jobs")), 2, unanswered=1),
    World("one serves; two more, one fewer", one_serves, (A, B, quiesce("q")), 2),
    World(
        "one serves; one more, one fewer; told bit by bit",
        one_serves,
        (A, quiesce("q")),
        2,
        unanswered=1,
        bit_by_bit=True,
    ),
    World(
        "one more, and stock for one; told bit by bit",
        one_fits,
        (A, stock("s")),
        1,
        unanswered=1,
        bit_by_bit=True,
    ),
    World(
        "three want one, two fit; told bit by bit",
        two_fit,
        (A, B, C),
        2,
        late=0,
        bit_by_bit=True,
    ),
    World("two more, and stock for one", two_fit, (A, B, stock("s")), 2, endings=("up",)),
    World("two want one, one wants what fits of two", two_fit, (A, B, EAGER), 2, endings=("failed",)),
    World(
        "the same, an append is not answered, no late outcome",
        two_fit,
        (A, B, EAGER),
        2,
        late=0,
        unanswered=1,
    ),
    World("a host is declared dead, two want one", two_hosts, DEATH, 2, orgs=BOTH),
    World(
        "a host is declared dead and is back, one wants one",
        two_hosts,
        (*DEATH[:2], change("back", "h1", "admit")),
        2,
        orgs=BOTH,
        endings=("up",),
    ),
)
"""The worlds of `make model`: 2 gates, up to 3 requests, a crash, an append that nobody answers, a late outcome."""

LITERAL = (
    World("two want one, one fits", one_fits, (A, B), 1),
    World("two want one, an append is not answered", one_fits, (A, B), 1, unanswered=1, late=0),
    World("three want one, a gate dies", two_fit, (A, B, C), 2, late=0, endings=("up",)),
    World("three want one, an outcome is told again", two_fit, (A, B, C), 2, crashes=0, endings=("up",)),
)
"""The worlds whose steps are also taken one by one: millions of states for a few hundred ledgers."""
