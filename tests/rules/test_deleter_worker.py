"""The deleter's shell: alerts are silenced beside the deletions, failures are told once, and what a VM was told goes from the vault."""

import datetime as dt
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from events.deletion import (
    DeletionBegun,
    DeletionCancelled,
    DeletionCompleted,
    DeletionDue,
    DeletionScheduled,
    SilenceEnded,
    SilenceFailed,
    SilenceSet,
    VmUndefined,
    VolumeErased,
)
from events.fact import Fact
from events.gate import EraseOrdered, GateDecided
from events.ids import derive
from events.keep import VmCreated
from events.vault import Vault
from schemas.capacity import Size
from schemas.deletion import STAGES, Stage, policy, scheduled
from schemas.request import SeedRef
from services.deleter.port import Found, Silence, SilenceError
from services.deleter.worker import Deleter
from tests.rules.desk import Desk, play
from tests.rules.one_life import one_life
from tests.simulation.clock import EPOCH, pause
from tests.support import turns

F = TypeVar("F", bound=Fact)
DELETION = derive("a deletion")
WHO = {"org": "acme", "vm": "db", "pool": "apps", "deletion": DELETION}
LOST = SilenceError("Nobody answers at 127.0.0.1:9093.", lost=True)
FINAL = SilenceError("It says no.", final=True)


@dataclass
class Alerts:
    """An Alertmanager that answers with these first, and that may forget, or land what nobody heard of."""

    answers: list[SilenceError] = field(default_factory=list[SilenceError])
    silences: dict[str, Silence] = field(default_factory=dict[str, Silence])
    sets: int = 0
    finds: int = 0
    ends: list[str] = field(default_factory=list[str])

    async def set(self, silence: Silence) -> str:
        self.sets += 1
        await self._answered()
        for id_, standing in self.silences.items():
            if standing.deletion == silence.deletion:
                return id_
        id_ = f"silence-{self.sets}"
        self.silences[id_] = silence
        return id_

    async def find(self, org: str, vm: str, deletion: str) -> tuple[Found, ...]:
        self.finds += 1
        await self._answered()
        return tuple(
            Found(id_, one.starts_at, one.ends_at, begun=False)
            for id_, one in self.silences.items()
            if (one.org, one.vm, one.deletion) == (org, vm, deletion)
        )

    async def end(self, id: str) -> None:
        await self._answered()
        self.ends.append(id)
        self.silences.pop(id, None)

    async def _answered(self) -> None:
        await turns(1)
        if self.answers:
            raise self.answers.pop(0)


@asynccontextmanager
async def deleter(desk: Desk, alerts: Alerts | None, vault: Vault) -> AsyncGenerator[None]:
    """A deleter at work; afterwards it is gone as if killed."""
    async with one_life(
        desk,
        "deleter",
        lambda ledger, bus: Deleter(ledger, bus, desk.clock, alerts, vault).work(),
    ):
        yield


class Deleting:
    """One deletion in the desk's ledger, with the gate and the others played by hand."""

    def __init__(self, desk: Desk, days: int = 10) -> None:
        self.desk = desk
        now = desk.clock.now()
        day = now.date() + dt.timedelta(days=days)
        self.schedule = scheduled(day, "Europe/Berlin", policy(now), now)
        self._fence = 0
        desk.write(
            DeletionScheduled(
                **WHO, schedule=self.schedule, actor="kim", reason="no longer needed", scheduled_at=now
            ),
            id=derive("scheduled"),
        )

    def begins(self, stage: Stage) -> None:
        self.desk.write(
            DeletionBegun(**WHO, stage=stage, ran=False, begun_at=self.desk.clock.now()),
            id=derive("begun", stage),
        )

    def completes(self, stage: Stage) -> None:
        self.desk.write(
            DeletionCompleted(**WHO, stage=stage, completed_at=self.desk.clock.now()),
            id=derive("completed", stage),
        )

    def cancels(self) -> None:
        self.desk.write(
            DeletionCancelled(
                **WHO, actor="kim", reason="needed after all", cancelled_at=self.desk.clock.now()
            ),
            id=derive("cancelled"),
        )

    async def until(self, stage: Stage, seconds: float = 5.0) -> None:
        """It is so long after the instant of the stage."""
        then = dict(self.schedule.instants())[stage]
        await pause(max(0.0, (then - self.desk.clock.now()).total_seconds()) + seconds)

    def said(self, kind: type[F]) -> list[F]:
        return [line.fact for line in self.desk.facts(kind) if isinstance(line.fact, kind)]


def test_a_stage_that_is_due_is_said_once_by_two_deleters_and_those_that_come_after_them(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        desk = Desk()
        deleting = Deleting(desk)
        vault = Vault(tmp_path)
        await deleting.until("prepare", -60)
        async with deleter(desk, None, vault), deleter(desk, None, vault):
            await pause(50)
            assert deleting.said(DeletionDue) == []
            await deleting.until("prepare")
        async with deleter(desk, None, vault):
            await pause(5000)
        (due,) = deleting.said(DeletionDue)
        assert (due.stage, due.attempt) == ("prepare", 1)

    play(scene, most_seconds=1e8)


def test_alerts_are_silenced_once_and_looked_at_again_when_a_stage_begins_or_they_were_forgotten(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        desk, alerts = Desk(), Alerts()
        deleting = Deleting(desk, 2)
        async with deleter(desk, alerts, Vault(tmp_path)):
            await pause(60)
            assert alerts.sets == 0
            deleting.begins("prepare")
            await pause(60)
            assert alerts.sets == 1
            (silence,) = alerts.silences.values()
            assert (silence.starts_at, silence.ends_at) == (deleting.schedule.soft, deleting.schedule.recycle)
            deleting.completes("prepare")
            deleting.begins("soft")
            await pause(60)
            assert alerts.sets == 2
            assert len(deleting.said(SilenceSet)) == 1
            alerts.silences.clear()
            await pause(1000)
            assert len(alerts.silences) == 1
            first, second = deleting.said(SilenceSet)
            assert first.silence != second.silence

    play(scene, most_seconds=1e8)


def test_a_failure_is_told_once_for_each_code_and_tried_until_it_is_well(tmp_path: Path) -> None:
    async def scene() -> None:
        desk, alerts = Desk(), Alerts([LOST] * 5 + [SilenceError("It answers nonsense.")] + [LOST] * 20)
        deleting = Deleting(desk, 2)
        async with deleter(desk, alerts, Vault(tmp_path)):
            deleting.begins("prepare")
            await pause(7200)
            assert len(alerts.silences) == 1
            codes = [one.code for one in deleting.said(SilenceFailed)]
            assert codes == ["AlertmanagerAway", "SilenceFailed"]
            assert alerts.answers == []

    play(scene, most_seconds=1e8)


def test_pauses_grow_to_five_minutes_and_what_is_refused_for_good_is_tried_no_oftener(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        for error, most in ((LOST, 20), (FINAL, 13)):
            desk, alerts = Desk(), Alerts([error] * 1000)
            deleting = Deleting(desk, 2)
            async with deleter(desk, alerts, Vault(tmp_path)):
                deleting.begins("prepare")
                await pause(3600)
                assert 12 <= alerts.sets <= most

    play(scene, most_seconds=1e8)


def test_a_cancelled_deletion_ends_its_silences_also_those_that_land_late(tmp_path: Path) -> None:
    async def scene() -> None:
        desk, alerts = Desk(), Alerts()
        deleting = Deleting(desk, 2)
        async with deleter(desk, alerts, Vault(tmp_path)):
            deleting.begins("prepare")
            await pause(10)
            (silence,) = alerts.silences.values()
            alerts.answers = [LOST, LOST]
            deleting.cancels()
            await pause(10)
            assert alerts.silences == {}
            (ended,) = deleting.said(SilenceEnded)
            assert ended.silence == "silence-1"
            alerts.silences["late"] = silence
            await pause(100)
            assert alerts.silences == {}
            asked = len(alerts.ends)
            await pause(5000)
            assert len(alerts.ends) == asked

    play(scene, most_seconds=1e8)


def test_a_silence_that_is_told_of_after_it_was_ended_is_ended_once_more_and_no_oftener(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        desk, alerts = Desk(), Alerts()
        deleting = Deleting(desk, 2)
        async with deleter(desk, alerts, Vault(tmp_path)):
            deleting.begins("prepare")
            await pause(10)
            deleting.cancels()
            await pause(10)
            assert alerts.silences == {}
            told = deleting.said(SilenceSet)[0]
            desk.write(told, id=derive("another deleter's"))
            await pause(10)
            assert [one.silence for one in deleting.said(SilenceEnded)] == [told.silence] * 2
            await pause(200)
            asked = alerts.finds
            await pause(1000)
            assert alerts.finds == asked

    play(scene, most_seconds=1e8)


def test_one_that_was_cancelled_before_its_preparation_asks_the_alertmanager_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        desk, alerts = Desk(), Alerts([LOST] * 10)
        deleting = Deleting(desk)
        async with deleter(desk, alerts, Vault(tmp_path)):
            deleting.cancels()
            await pause(5000)
            assert len(alerts.answers) == 10

    play(scene, most_seconds=1e8)


def test_what_the_vm_was_told_is_gone_from_the_vault_when_its_stage_is_complete(tmp_path: Path) -> None:
    async def scene() -> None:
        desk, vault = Desk(), Vault(tmp_path)
        ref = SeedRef("seed-db", vault.put_seed("seed-db", "a secret"))
        created = VmCreated(
            org="acme",
            vm="db",
            pool="apps",
            size=Size("own-1x1024", 1, 1024),
            image="tiny",
            kind="lab",
            readiness="http",
            disk_bytes=0,
            seed=ref,
            protected=False,
            actor="kim",
            created_at=EPOCH,
        )
        desk.write(created, id=derive("created"))
        deleting = Deleting(desk)
        await deleting.until("hard")
        async with deleter(desk, None, vault):
            for stage in STAGES[:2]:
                deleting.begins(stage)
                await pause(1)
                deleting.completes(stage)
            deleting.begins("hard")
            order = EraseOrdered(
                id=derive("erase"),
                vm="db",
                pool="apps",
                host="h1",
                what="disk",
                volume=None,
                deletion=DELETION,
                request=derive("request"),
            )
            desk.write(
                GateDecided(
                    org="acme",
                    gate="g1",
                    through=0,
                    follows=0,
                    state_seq=1,
                    now=desk.clock.now(),
                    contract=None,
                    rules="given",
                    answers=(),
                    orders=(order,),
                ),
                id=derive("decided"),
            )
            now = desk.clock.now()
            desk.write(
                VmUndefined(org="acme", vm="db", host="h1", order=order.id, undefined_at=now), id=derive("u")
            )
            key = tmp_path / "keys" / "seed-db.key"
            key.chmod(0o644)
            erased = VolumeErased(
                org="acme", vm="db", host="h1", order=order.id, volume=None, snapshots=0, erased_at=now
            )
            desk.write(erased, id=derive("e"))
            await pause(30)
            assert [
                one for one in deleting.said(DeletionCompleted) if getattr(one, "stage", "") == "hard"
            ] == []
            key.chmod(0o600)
            await pause(90)
            assert vault.seed("seed-db", ref.commitment) is None
            last = deleting.said(DeletionCompleted)[-1]
            assert last.stage == "hard"

    play(scene, most_seconds=1e8)
