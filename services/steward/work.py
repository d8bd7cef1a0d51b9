"""What is really done of all that was asked for one VM: changes that undo each other are gone, and there is one reboot, at the end."""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from schemas.activity import IMPACTS, Activity, Change, Impact, Kind
from schemas.maintenance import Policy
from schemas.struct import Value

_PLAIN: Final[frozenset[Kind]] = frozenset({"reboot", "cold-reboot"})
"""Work that is nothing but a reboot."""


class Work(Value, frozen=True):
    """Steps in the order in which they are done; whoever does them reboots once, after the last, as `impact` says."""

    steps: tuple[Activity, ...]
    impact: Impact

    @property
    def seconds(self) -> int:
        """What the steps take together."""
        return sum(step.estimate_seconds for step in self.steps)


def combine(asked: Iterable[Activity]) -> Work:
    """The work that does all of this.

    Work of one kind that changes something is one step, from what was first before to what is last after; where that is the same,
    it is no step at all. A plain reboot is dropped when another step brings one at least as strong, and of two the stronger
    remains. A request that is told twice counts once.
    """
    once = {activity.id: activity for activity in asked}.values()
    changing: dict[Kind, Activity] = {}
    others: list[Activity] = []
    reboot: Activity | None = None
    for activity in once:
        if activity.changes:
            known = changing.get(activity.kind)
            changing[activity.kind] = activity if known is None else _folded(known, activity)
        elif activity.kind not in _PLAIN:
            others.append(activity)
        elif reboot is None or rank(reboot.impact) < rank(activity.impact):
            reboot = activity
    steps = [step for activity in changing.values() if (step := _net(activity)) is not None] + others
    steps.sort(key=lambda step: rank(step.impact))
    if reboot is not None and rank(_strongest(steps)) < rank(reboot.impact):
        steps.append(reboot)
    return Work(tuple(steps), _strongest(steps))


def needed_seconds(work: Work, policy: Policy) -> int:
    """The time that is set aside for the work: never less than the policy's least, and its preparation on top."""
    return max(policy.least_seconds, work.seconds) + policy.preparation_seconds


def restores_notice(announced: Work, wanted: Work, policy: Policy) -> bool:
    """Whether contacts who know of the one must hear of the other a full notice before it.

    They must when the guest feels more, when it takes much longer, and when something significant is done of which they do not
    know. That a size becomes yet another one is only told to them.
    """
    if rank(wanted.impact) > rank(announced.impact):
        return True
    if wanted.seconds > announced.seconds + policy.growth_seconds:
        return True
    return not _news(wanted) <= _news(announced)


def rank(impact: Impact) -> int:
    """How strong an impact is: 0 is none."""
    return IMPACTS.index(impact)


def _strongest(steps: Sequence[Activity]) -> Impact:
    return IMPACTS[max((rank(step.impact) for step in steps), default=0)]


def _folded(known: Activity, later: Activity) -> Activity:
    """Both as one: each thing from what it was at first, to what it is to be at last.

    What the later one takes for the state before is not asked: it may have been made knowing of the first, or not.
    """
    changes = {change.what: change for change in known.changes}
    for change in later.changes:
        first = changes.get(change.what, change)
        changes[change.what] = Change(change.what, first.before, change.after)
    return replace(
        known,
        estimate_seconds=max(known.estimate_seconds, later.estimate_seconds),
        impact=max(known.impact, later.impact, key=rank),
        significant=known.significant or later.significant,
        changes=tuple(changes.values()),
        summary=later.summary or known.summary,
    )


def _net(activity: Activity) -> Activity | None:
    left = tuple(change for change in activity.changes if change.before != change.after)
    return replace(activity, changes=left) if left else None


def _news(work: Work) -> frozenset[tuple[str, str]]:
    """What is significant about the work: each thing that changes by its name, other steps by theirs; plain reboots are its impact."""
    changed = {(step.kind, change.what) for step in work.steps if step.significant for change in step.changes}
    done = {
        ("", step.id)
        for step in work.steps
        if step.significant and not step.changes and step.kind not in _PLAIN
    }
    return frozenset(changed | done)
