"""The rows of activations are the same whether each event is written at once, as by the live views, or all at the end."""

import dataclasses
from pathlib import Path

import pytest

from events.host import HostAdmitted, HostFenced, HostRemoved
from events.vm import VmWakeFailed
from projections.activations.table import TABLES
from replay.history import folding
from replay.views.at import passing
from replay.views.digest import digest_of
from replay.views.rebuild import Build
from tests.given import ORG
from tests.papers import NOW
from tests.rules.retold import Lines, Told


@dataclasses.dataclass
class Written:
    """What a file of views holds of activations."""

    digest: str
    rows: dict[str, tuple[str, str | None]]
    """By VM and way: the stage, and why it failed."""


async def written(past: Told, path: Path, *, at_once: bool) -> Written:
    """The tables of the past, written after each event or at its end."""
    lines = Lines(past.stored_lines())
    async with passing(path) as base:
        build = Build(base, TABLES)
        await build.create()
        for until in range(1, past.seq + 1) if at_once else [past.seq]:
            async for last in folding(lines, [*build.folds, build.touched], until, after=build.seq):
                build.seq = last.seq
            await build.write()
        found = await base.execute_fetchall("SELECT vm, way, stage, failure FROM activations")
    rows = {f"{vm} {way}": (stage, failure) for vm, way, stage, failure in found}
    return Written(digest_of(path).digest, rows)


async def agreed(past: Told, tmp_path: Path) -> dict[str, tuple[str, str | None]]:
    """The rows of the past, which do not depend on when they were written."""
    live = await written(past, tmp_path / "live.db", at_once=True)
    rebuilt = await written(past, tmp_path / "rebuilt.db", at_once=False)
    assert live.rows == rebuilt.rows
    assert live == rebuilt
    return live.rows


def coming_back() -> tuple[Told, str]:
    """A VM whose drain was taken back, before it serves again."""
    past = Told()
    past.contract(vcpu=20).pool("web").host().serving("web", 2)
    past.later(1000)
    past.quiesce(count=1, origin="person")
    past.round()
    past.scale(add=1)
    past.round()
    (vm,) = [vm.name for vm in past.fleet.vms.values() if vm.state == "warm"]
    return past, vm


@pytest.mark.parametrize("end", ["died", "quiesced", "failed"])
async def test_a_return_that_ended_with_its_reservation_has_failed_in_every_view(
    end: str, tmp_path: Path
) -> None:
    past, vm = coming_back()
    match end:
        case "died":
            past.died(vm)
        case "quiesced":
            past.quiesced(vm)
        case _:
            held = past.reservation(vm)
            past.happened(VmWakeFailed(ORG, vm, "h1", held, "broken", "It is broken.", "off", NOW))
    rows = await agreed(past, tmp_path)
    assert rows[f"{vm} return"][0] == "failed"
    assert rows[f"{vm} boot"] == ("serving", None)


async def test_whatever_was_under_way_on_a_host_that_is_dead_has_failed_and_nothing_else_has(
    tmp_path: Path,
) -> None:
    past = Told()
    past.contract(vcpu=40).pool("web").host().host("h2").asleep("web", 2).serving("web", 1)
    past.scale(add=2)
    past.round()
    past.decided(past.boot("web", "web-9", host="h2"))
    past.happened(HostFenced("platform", "h1", "op", "burnt", past.now))
    rows = await agreed(past, tmp_path)
    dead = ("failed", "the host h1 was declared dead")
    assert rows == {
        "web-1 boot": ("prepared", None),
        "web-2 boot": ("prepared", None),
        "web-3 boot": ("serving", None),
        "web-1 resume": dead,
        "web-2 resume": dead,
        "web-9 boot": ("ordered", None),
    }


async def test_a_return_on_a_host_that_is_dead_has_failed(tmp_path: Path) -> None:
    past, vm = coming_back()
    past.happened(HostFenced("platform", "h1", "op", "burnt", past.now))
    rows = await agreed(past, tmp_path)
    assert rows[f"{vm} return"] == ("failed", "the host h1 was declared dead")
    assert rows[f"{vm} boot"] == ("serving", None)


@pytest.mark.parametrize("kind", [HostFenced, HostRemoved])
async def test_an_order_on_a_host_that_is_dead_or_gone_has_failed_at_once(
    kind: type[HostFenced | HostRemoved], tmp_path: Path
) -> None:
    past = Told()
    past.contract(vcpu=40).pool("web").host("h2")
    past.waking("web", 1, host="h2")
    past.happened(kind("platform", "h2", "op", "burnt", past.now))
    past.decided(past.boot("web", "web-2", host="h2"))
    rows = await agreed(past, tmp_path)
    assert rows["web-2 boot"] == ("failed", "the host h2 was dead or removed before this was ordered")
    before = {HostFenced: ("failed", "the host h2 was declared dead"), HostRemoved: ("ordered", None)}
    assert rows["web-1 boot"] == before[kind], "what was ordered before a removal counts on"


async def test_a_host_that_is_admitted_again_carries_trips_again(tmp_path: Path) -> None:
    past = Told()
    past.contract(vcpu=40).pool("web").host("h1")
    past.happened(HostFenced("platform", "h1", "op", "burnt", past.now))
    past.happened(HostAdmitted("platform", "h1", "op", "mended", past.now))
    past.scale(add=1)
    past.round()
    past.ready("web-1")
    past.announced("web-1")
    assert await agreed(past, tmp_path) == {"web-1 boot": ("serving", None)}
