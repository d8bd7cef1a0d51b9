"""The rows of activations are the same whether each event is written at once, as by the live views, or all at the end."""

import dataclasses
from pathlib import Path

import pytest

from events.vm import VmWakeFailed
from projections.activations.table import TABLES
from replay.at import passing
from replay.digest import digest_of
from replay.history import folding
from replay.rebuild import Build
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
