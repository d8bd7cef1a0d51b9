"""What a pool's decisions depended on at one instant: limits, use, cooldown, freeze, trigger, VMs, hosts. Pure."""

import datetime as dt
from collections.abc import Iterator
from typing import Final

import msgspec

from events.scale import ScaleRequested
from events.sentences import percent
from projections.fleet.life import EVERY
from projections.fleet.life import State as VmState
from replay.why.foresight import sentences as of_forecast
from replay.why.story import Story
from replay.why.words import moment, number, observed, short, tag_of
from schemas.capacity import ENFORCED, UNITS
from schemas.contract.terms import Contract
from schemas.pool import Pool
from services.gate.decide import RULES
from services.gate.state import State
from services.signal.decide import cooled

MOST_WORDS: Final = 6
"""Answers and orders of one decision that are put into words."""


class Use(msgspec.Struct, frozen=True):
    """One dimension of the org's capacity against its signed limit."""

    dimension: str
    used: int
    reserved: int
    quota: int
    limit: int


class Lending(msgspec.Struct, frozen=True):
    """One host: whether VMs may start there, and the memory that it still lends."""

    host: str
    state: str
    awake: int
    free_mib: int
    memory_mib: int


class Circumstances(msgspec.Struct, frozen=True):
    """Everything that the rules looked at, as numbers for programs and as sentences for people."""

    rules: str
    """By which the suppositions were answered."""
    contract: str | None
    version: int | None
    valid_until: dt.datetime | None
    use: tuple[Use, ...]
    strays: int
    frozen_until: dt.datetime | None
    raised_by_trigger_at: dt.datetime | None
    moved_at: dt.datetime | None
    cooldown_seconds: int
    trigger_asked_at: dt.datetime | None
    waiting: int
    """Requests of the org that had no answer yet."""
    staying: int
    min_vms: int
    max_vms: int
    vms: dict[str, int]
    hosts: tuple[Lending, ...]
    decided_seq: int | None
    """Where the last decision about the pool stands."""
    sentences: tuple[str, ...]


def circumstances(state: State, story: Story, ahead: Story, pool: Pool, at: dt.datetime) -> Circumstances:
    """The circumstances at the instant, to which `state` and `story` are folded."""
    org, name = story.org, story.pool
    contract = state.usage.contracts.get(org)
    freeze = state.freezes.over(org, name, at)
    fleet, docket = state.fleet, state.docket
    counts = {each: fleet.count(org, name, frozenset[VmState]({each})) for each in sorted(EVERY)}
    hosts = tuple(
        Lending(host.name, host.state, fleet.awake(host.name), fleet.free_mib(host.name), host.memory_mib)
        for host in fleet.hosts.values()
        if host.state != "removed"
    )
    use = _use(state, contract, org)
    return Circumstances(
        rules=RULES,
        contract=None if contract is None else contract.id,
        version=None if contract is None else contract.version,
        valid_until=None if contract is None else contract.valid_until,
        use=use,
        strays=state.usage.strays(org),
        frozen_until=None if freeze is None else freeze.until,
        raised_by_trigger_at=docket.scaled_at(org, name),
        moved_at=docket.moved_at(org, name),
        cooldown_seconds=pool.cooldown_seconds,
        trigger_asked_at=None if story.triggered is None else story.triggered.wish.received_at,
        waiting=sum(1 for _ in docket.pending(org)),
        staying=fleet.staying(org, name),
        min_vms=pool.min_vms,
        max_vms=pool.max_vms,
        vms={each: vms for each, vms in counts.items() if vms},
        hosts=hosts,
        decided_seq=None if story.decision is None else story.decision.recorded.seq,
        sentences=(
            *_of_contract(state, contract, use, org, at),
            *_of_pool(state, pool, counts),
            *_of_cooldown(state, pool, at),
            *(
                []
                if freeze is None
                else [f"frozen until {moment(freeze.until)} by {freeze.actor}: {freeze.reason}"]
            ),
            *_of_trigger(story, ahead, pool, at),
            *of_forecast(story, ahead, at),
            *_of_hosts(hosts),
            *_of_waiting(state, org),
            *_of_decision(story),
        ),
    )


def _use(state: State, contract: Contract | None, org: str) -> tuple[Use, ...]:
    if contract is None:
        return ()
    used, reserved, limit = state.usage.used(org), state.usage.reserved(org), contract.limit
    return tuple(
        Use(each, used.of(each), reserved.of(each), contract.quota.of(each), limit.of(each))
        for each in ENFORCED
    )


def _of_contract(
    state: State, contract: Contract | None, use: tuple[Use, ...], org: str, at: dt.datetime
) -> Iterator[str]:
    if contract is None:
        yield f"{org} had no contract in force"
        return
    lines = "; ".join(
        f"{one.used} in use + {one.reserved} reserved of {one.limit} {unit}"
        for one, unit in zip(use, (UNITS[each] for each in ENFORCED), strict=True)
    )
    valid = (
        "valid" if contract.valid_from <= at < contract.valid_until else "not valid at that time: it was so"
    )
    yield (
        f"contract {contract.id} version {contract.version} (quota + {percent(contract.allowance_bp)}), {valid} from "
        f"{moment(contract.valid_from)} to {moment(contract.valid_until)}: {lines}"
    )
    if strays := state.usage.strays(org):
        yield f"{number(strays)} of {org} awake that nobody had ordered"


def _of_pool(state: State, pool: Pool, counts: dict[str, int]) -> Iterator[str]:
    states = ", ".join(f"{vms} {each}" for each, vms in counts.items() if vms) or "none"
    staying = state.fleet.staying(pool.org, pool.name)
    yield (
        f"VMs: {states}; {staying} count for the pool, which has a minimum of {pool.min_vms} and a maximum of "
        f"{pool.max_vms}"
    )


def _of_cooldown(state: State, pool: Pool, at: dt.datetime) -> Iterator[str]:
    lasts = dt.timedelta(seconds=pool.cooldown_seconds)
    scaled_at = state.docket.scaled_at(pool.org, pool.name)
    moved_at = state.docket.moved_at(pool.org, pool.name)
    if pool.triggers or scaled_at is not None:
        yield _cooldown("for its trigger to raise it", "raised by its trigger", scaled_at, lasts, at)
    yield _cooldown("to shrink automatically", "moved", moved_at, lasts, at)


def _cooldown(
    what: str, since: str, began_at: dt.datetime | None, lasts: dt.timedelta, at: dt.datetime
) -> str:
    if began_at is None:
        return f"no cooldown {what}: it was never {since} before"
    word = "over since" if began_at + lasts <= at else "until"
    return (
        f"cooldown {what} {word} {moment(began_at + lasts)}: it was {since} at {moment(began_at)}, and the cooldown is "
        f"{lasts.total_seconds():.0f} s"
    )


def _of_trigger(story: Story, ahead: Story, pool: Pool, at: dt.datetime) -> Iterator[str]:
    if not pool.triggers:
        yield "the pool had no trigger: it grew only when somebody asked"
    else:
        asks = "; ".join(
            f"its trigger asks for {number(one.add, more=True)} after {one.samples} samples of {one.query} above {one.above:g}"
            for one in pool.triggers
        )
        heard = story.triggered
        if heard is None or not isinstance(heard.wish, ScaleRequested):
            yield f"{asks}; {'it' if len(pool.triggers) == 1 else 'they'} had never asked"
        else:
            who = "it" if len(pool.triggers) == 1 else "one of them"
            asked_at = heard.wish.received_at
            may = asked_at + dt.timedelta(seconds=pool.cooldown_seconds)
            again = "had been free to ask again since" if cooled(pool, asked_at, at) else "kept still until"
            yield f"{asks}; {who} last asked at {moment(asked_at)} (request {short(heard.id)}) and {again} {moment(may)}"
    windows = [seen for seen in ahead.observed if seen.window_from <= at < seen.window_until]
    yield from (observed(seen) for seen in windows or list(story.observed)[-1:])


def _of_hosts(hosts: tuple[Lending, ...]) -> Iterator[str]:
    if not hosts:
        yield "no host had registered"
    for host in hosts:
        yield f"host {host.host} {host.state}: {host.awake} VMs awake, {host.free_mib} of {host.memory_mib} MiB free"


def _of_waiting(state: State, org: str) -> Iterator[str]:
    if waiting := sum(1 for _ in state.docket.pending(org)):
        requests = f"{waiting} request{'' if waiting == 1 else 's'} of {org}"
        yield f"{requests} waited for an answer, and would have been answered first"


def _of_decision(story: Story) -> Iterator[str]:
    if story.decision is None:
        yield "the gate had decided nothing about the pool yet"
        return
    recorded = story.decision.recorded
    words = [f"{one.outcome} ({one.code}, {one.granted} of {one.asked})" for one in story.decision.answers]
    words += [f"{tag_of(order)} {order.vm}" for order in story.decision.orders]
    shown = ", ".join(words[:MOST_WORDS]) + (
        f", and {len(words) - MOST_WORDS} more" if len(words) > MOST_WORDS else ""
    )
    yield (
        f"the last decision about the pool stands at sequence {recorded.seq}, {moment(recorded.stored_at)}: {shown}"
    )
    if story.rules != RULES:
        yield f"what is supposed here follows the rules {RULES}; those of that decision were {story.rules}"
