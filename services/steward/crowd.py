"""How many VMs are worked on at once: the times that are taken already, when planning, and the hands that are free, when it is time."""

from collections.abc import Iterable, Sequence
from itertools import chain

from schemas.activity import Maintenance
from schemas.maintenance import AtOnce
from services.steward.calendar import Interval
from services.steward.stages import OCCUPYING


def full(taken: Iterable[Interval], at_once: int) -> list[Interval]:
    """The intervals in which at least as many of the taken ones lie, sorted and apart."""
    edges = sorted(chain.from_iterable(((begin, 1), (until, -1)) for begin, until in taken if begin < until))
    found: list[Interval] = []
    count, since = 0, None
    for instant, step in edges:
        count += step
        if count >= at_once and since is None:
            since = instant
        elif count < at_once and since is not None:
            if since < instant:
                found.append((since, instant))
            since = None
    return union(found)


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """All of them, sorted, those that touch or overlap as one."""
    found: list[Interval] = []
    for begin, until in sorted(intervals):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], until))
        else:
            found.append((begin, until))
    return found


def closed_to(
    org: str, vm: str, pool: str | None, others: Iterable[Maintenance], at_once: AtOnce
) -> Sequence[Interval]:
    """When no work on the VM may lie: the VM is worked on already, or as many of its pool or org as may be at once.

    The VMs of a pool or org are counted, not their entries: two of one VM never overlap.
    """
    of_vm: list[Interval] = []
    of_pool: list[Interval] = []
    of_org: list[Interval] = []
    for other in others:
        if other.org != org or other.stage not in OCCUPYING or is_notice(other):
            continue
        taken = (other.slot.start, other.slot.end)
        if other.vm == vm:
            of_vm.append(taken)
            continue
        of_org.append(taken)
        if pool is not None and other.pool == pool:
            of_pool.append(taken)
    return union(chain(full(of_vm, 1), full(of_pool, at_once.pool), full(of_org, at_once.org)))


def has_hands(wanted: Maintenance, running: Iterable[Maintenance], at_once: AtOnce) -> bool:
    """Whether work on the VM may begin beside what is running."""
    of_org = [other for other in running if other.org == wanted.org]
    of_pool = [other for other in of_org if wanted.pool is not None and other.pool == wanted.pool]
    return (
        all(other.vm != wanted.vm for other in of_org)
        and len(of_org) < at_once.org
        and len(of_pool) < at_once.pool
    )


def is_notice(maintenance: Maintenance) -> bool:
    """Whether the entry only tells of a deletion, so that nothing is run for it."""
    return all(activity.kind == "deletion-notice" for activity in maintenance.asked)
