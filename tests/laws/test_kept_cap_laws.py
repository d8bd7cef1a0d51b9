"""The cap holds for VMs that are kept, whatever is asked of their sizes, disks and copies, and whatever workers tell late or twice."""

import datetime as dt
import random
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from events.deletion import DeletionCancelRequested, DeletionDue, DeletionRequested
from events.keep import VmResizeRequested
from schemas.capacity import Size
from tests.given import ORG
from tests.keeping import GIB, ONE, SIX, TWO
from tests.laws.kept_truth import Truth
from tests.laws.strength import examples

NAMES: Final = ("db", "shop")
COPIES: Final = ("one", "two")
SIZES: Final = (ONE, TWO, SIX, Size("own-3x1024", 3, 1024))
VCPU, DISK_GIB = 6, 100
LIMIT: Final = (VCPU * 11 // 10, DISK_GIB * GIB * 11 // 10)
ACTIONS: Final = (
    "create",
    "start",
    "stop",
    *("resize", "grow") * 3,
    "copy",
    "drop",
    "restore",
    "into",
    "delete",
    "keep",
    "due",
)


def ask(past: Truth, dice: random.Random) -> None:
    """Somebody wants something of some VM."""
    vm, copy = dice.choice(NAMES), dice.choice(COPIES)
    own: dict[str, Any] = {**past.asked(), "vm": vm}
    match dice.choice(ACTIONS):
        case "create":
            disk_bytes = dice.choice((5, 10, 40)) * GIB
            past.create(vm, disk_bytes=disk_bytes, size=dice.choice(SIZES), start=dice.random() < 0.7)
        case "start":
            past.change("start", vm)
        case "stop":
            past.change("stop", vm)
        case "resize":
            wants(past, vm, dice.choice(SIZES), None, plug=dice.random() < 0.5)
        case "grow":
            wants(past, vm, None, dice.choice((12, 20, 30, 50, 90)) * GIB, plug=False)
        case "copy":
            past.copy(copy, dice.choice(("snapshot", "backup")), vm)
        case "drop":
            past.drop(copy, vm)
        case "restore":
            past.restore(copy, None, vm)
        case "into":
            past.restore(copy, dice.choice(NAMES), vm)
        case "delete":
            day = (past.now + dt.timedelta(days=2)).date()
            past.happened(DeletionRequested(**own, day=day, policy=None))
        case "keep":
            past.happened(DeletionCancelRequested(**own, start=dice.random() < 0.7))
        case _:
            past.later(dice.choice((60, 3600, 86_400, 5 * 86_400)))
            for one in list(past.state.deletions.standing()):
                if one.next is not None:
                    past.happened(DeletionDue(ORG, one.vm, "apps", one.id, one.next, 1, past.now))
    past.gates()


def wants(past: Truth, vm: str, size: Size | None, disk_bytes: int | None, *, plug: bool) -> None:
    """Another size, or a larger disk, now."""
    own = {name: value for name, value in past.asked().items() if name != "reason"}
    past.happened(VmResizeRequested(**own, vm=vm, size=size, disk_bytes=disk_bytes, plug=plug, when="now"))


@examples(60)
@given(seed=st.integers(0, 2**32), steps=st.integers(50, 250), snapshots_kept=st.sampled_from((1, 2, 5)))
def test_what_exists_is_counted_and_what_is_counted_is_within_the_cap(
    seed: int, steps: int, snapshots_kept: int
) -> None:
    past, dice = Truth(), random.Random(seed)
    past.setting(vcpu=VCPU, disk_gib=DISK_GIB, snapshots_kept=snapshots_kept)
    past.create("db")
    past.gates()
    pace = dice.choice((0.1, 0.25, 0.45))  # the slower workers are, the more is under way at once
    for _ in range(steps):
        doing = dice.random()
        if doing < pace:
            past.work(dice)
        elif doing < pace + pace / 5:
            past.tell_again(dice)
        else:
            ask(past, dice)
        past.goes_on()
        past.gates()
        for exists, counts, limit in zip(past.there, past.counted, LIMIT, strict=True):
            assert exists <= counts <= limit, (past.there, past.counted, past.lines[-1])
