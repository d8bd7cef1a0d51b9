"""A VM's deletion from the request to its free name: a real bus, a real Alertmanager, real mail, and a clock that jumps."""

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from events.bus import permissions
from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.deletion import (
    BackupsErased,
    DeletionBegun,
    DeletionCancelled,
    DeletionCompleted,
    DeletionScheduled,
    SilenceEnded,
    SilenceFailed,
    SilenceSet,
    VmUndefined,
    VolumeErased,
)
from events.gate import EraseOrdered, GateDecided, StopOrdered
from events.keep import VmCreated
from events.maintenance import MaintenanceCancelled, MaintenanceEnded, MaintenanceScheduled
from events.vault import Vault
from events.vm import VmStopped
from lab import alertmanager as lab
from lab.mail import MailSink
from schemas.deletion import STAGES
from schemas.vm_intake import CreateVm, DeleteVm, UndeleteVm
from services.deleter.alertmanager import Alertmanager
from services.deleter.worker import Deleter
from tests.seams.alerts import alert, listed, states
from tests.seams.bus_worlds import World, a_world
from tests.seams.test_maintenance_life import ORG, Site, invitation
from tests.support import eventually, free_port
from virtscale import cli, description
from virtscale.ask import TurnedAwayError
from virtscale.ports import Ports

DAY = dt.timedelta(days=1)


class Farewell(Site):
    """The workers of a house in which VMs are deleted; the test plays its host."""

    WORKERS = ("signal", "gate", "steward", "deleter", "deleter", "notifier")
    CONTRACT_DAYS = 90

    def __init__(self, world: World, sink: MailSink, alerts: str, vault: Vault) -> None:
        super().__init__(world, sink)
        self.clock.by = -2 * DAY
        self.alerts, self.vault = alerts, vault

    async def begin(self) -> None:
        await super().begin()
        self.storage = Pen(await self.world.connect(permissions.worker("storage")), "storage", self.clock)

    async def has_a_vm(self) -> None:
        """VM db runs."""
        await eventually(lambda: (ORG, "apps") in self.fleet.pools)
        await self.asks(CreateVm, pool="apps", vm="db")
        await self.runs()
        await eventually(lambda: self.fleet.vms[ORG, "db"].state == "running")

    async def start(self, name: str) -> None:
        if name != "deleter":
            await super().start(name)
            return
        bus = await self.world.connect(permissions.worker("deleter"))
        ledger, silences = Ledger(bus), Alertmanager(self.alerts)
        work = Deleter(ledger, bus, self.clock, silences, self.vault).work()
        self.tasks.setdefault(name, []).extend(
            [asyncio.create_task(work), asyncio.create_task(ledger.follow())]
        )

    async def completes(self, *stages: str) -> None:
        """So far the deletion is."""
        await eventually(
            lambda: [one.stage for one in self.heard.all(DeletionCompleted)] == list(stages),
            why=f"{stages} are complete",
        )

    def begun(self, deletion: str) -> list[str]:
        """The stages of the deletion that began."""
        return [one.stage for one in self.heard.all(DeletionBegun) if one.deletion == deletion]

    async def stops(self) -> None:
        """The waker has stopped the VM."""
        (order,) = await self.ordered(StopOrdered)
        who: dict[str, Any] = {"org": ORG, "vm": "db", "host": "h1", "reservation": order.reservation}
        now = self.clock.now()
        stopped = VmStopped(**who, asleep_since=None, cause="ordered", found="off", stopped_at=now)
        await self.tell(self.waker, stopped)

    async def erases(self) -> None:
        """Waker and storage have done what was ordered last."""
        order = (await self.ordered(EraseOrdered))[-1]
        who: dict[str, Any] = {"org": ORG, "vm": "db", "host": "h1", "order": order.id}
        now = self.clock.now()
        if order.what == "backups":
            await self.tell(self.storage, BackupsErased(**who, backups=2, erased_at=now))
            return
        await self.tell(self.waker, VmUndefined(**who, undefined_at=now))
        await self.tell(self.storage, VolumeErased(**who, volume=order.volume, snapshots=0, erased_at=now))

    async def ordered(self, kind: type[Any]) -> list[Any]:
        """Orders of this kind, once there is one."""
        return await eventually(
            lambda: [
                order
                for decided in self.heard.all(GateDecided)
                for order in decided.orders
                if isinstance(order, kind)
            ]
        )


@asynccontextmanager
async def a_farewell(directory: Path) -> AsyncGenerator[tuple[Farewell, MailSink, httpx.AsyncClient]]:
    sink, server = MailSink(directory / "mails", free_port()), lab.Alertmanager(directory, free_port())
    await sink.start()
    await server.start()
    try:
        async with (
            a_world("nats", directory) as world,
            httpx.AsyncClient(base_url=server.url, trust_env=False) as http,
        ):
            site = Farewell(world, sink, server.url, Vault(directory / "vault"))
            try:
                await site.begin()
                yield site, sink, http
            finally:
                await site.end()
    finally:
        await server.stop()
        await sink.stop()


pytestmark = pytest.mark.skipif(not lab.installed(), reason=f"no Alertmanager here: {lab.MEND}")


async def test_a_deletion_that_is_taken_back_leaves_no_silence_no_notice_and_two_mails(
    tmp_path: Path,
) -> None:
    """It was asked for two days ago: by now its day has come for the Alertmanager, whose clock is the world's."""
    async with a_farewell(tmp_path) as (site, sink, http):
        await site.has_a_vm()
        await alert(http, org=ORG, vm="db")
        await alert(http, org=ORG, vm="web")
        await site.asks(DeleteVm, vm="db", reason="no longer needed")
        schedule = (await site.comes(DeletionScheduled)).schedule
        assert schedule.prepared_at_once
        await site.completes("prepare")
        notice = (await site.comes(MaintenanceScheduled)).entry
        assert notice.slot.start == schedule.soft
        silences = await eventually(lambda: site.heard.all(SilenceSet))
        assert (silences[0].starts_at, silences[0].ends_at) == (schedule.soft, schedule.recycle)

        async def silent() -> bool:
            """By one silence, also where two deleters asked in the same moment."""
            standing = [state for state in (await listed(http)).values() if state != "expired"]
            alerts = {f"{ORG}/db": "suppressed", f"{ORG}/web": "active"}
            return standing == ["active"] and await states(http) == alerts

        await eventually(silent)
        (mail,) = await sink.wait_for(1, 10.0)
        assert mail.subject.startswith("To be deleted: acme/db, shut down ")
        assert invitation(mail)[0] == "REQUEST"

        await site.asks(UndeleteVm, vm="db", reason="needed after all")
        await site.comes(DeletionCancelled)
        await eventually(lambda: site.heard.all(SilenceEnded))

        async def heard() -> bool:
            return (await states(http))[f"{ORG}/db"] == "active"

        await eventually(heard)
        assert (await site.comes(MaintenanceCancelled)).entry.id == notice.id
        mail = (await sink.wait_for(2, 10.0))[-1]
        assert (mail.subject, invitation(mail)[0]) == ("Not deleted after all: acme/db", "CANCEL")


async def test_all_five_stages_come_on_a_clock_that_jumps_and_the_name_is_free(tmp_path: Path) -> None:
    async with a_farewell(tmp_path) as (site, sink, http):
        await site.has_a_vm()
        await site.asks(DeleteVm, vm="db", reason="no longer needed")
        told = await site.comes(DeletionScheduled)
        schedule = told.schedule
        await site.completes("prepare")
        await sink.wait_for(1, 10.0)
        await site.kill("deleter")
        site.clock.set(schedule.soft)
        await site.start("deleter")
        await site.start("deleter")
        await site.stops()
        await site.completes("prepare", "soft")
        await site.comes(MaintenanceEnded)
        await sink.wait_for(2, 10.0)

        site.clock.set(schedule.hard)
        await eventually(lambda: "hard" in site.begun(told.deletion))
        await site.erases()
        await site.completes("prepare", "soft", "hard")
        await sink.wait_for(3, 10.0)

        site.clock.set(schedule.recycle + DAY)
        await eventually(lambda: "purge" in site.begun(told.deletion))
        await site.erases()
        await site.completes(*STAGES)
        assert site.begun(told.deletion) == list(STAGES)
        assert site.heard.all(SilenceFailed) == []
        assert [state for state in (await listed(http)).values() if state != "expired"] == ["active"]
        assert [mail.subject.partition(":")[0] for mail in sink.mails] == [
            "To be deleted",
            "Shut down to be deleted",
            "Deleted",
        ]
        await site.asks(CreateVm, pool="apps", vm="db", start=False)
        await site.comes(VmCreated, 2)


async def test_the_commands_say_what_was_decided_and_end_with_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VIRTSCALE_HOUSE", str(tmp_path))

    async def command(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = await asyncio.to_thread(cli.app, ["vm", *words], result_action="return_value")
        said = capsys.readouterr()
        return int(code), said.out + said.err

    async with a_farewell(tmp_path) as (site, _, _):
        await site.has_a_vm()
        described = description.describe(
            tmp_path, Ports.usual(), "/templates", (), description.kept(tmp_path, permit_seconds=0.0)
        )
        description.write(
            msgspec.structs.replace(
                described, bus_url=site.url, keys=str(tmp_path / "keys"), permit_seconds=0.0
            )
        )
        day = (site.clock.now() + 3 * DAY).date().isoformat()
        code, said = await command("delete", "acme/db", "--on", day, "--zone", "UTC", "--reason", "over")
        assert code == 0
        assert "acme/db will be deleted: prepare " in said
        assert "(UTC; policy deletion-2024-10)" in said
        code, said = await command("delete", "acme/db", "--reason", "twice")
        assert (code, "take that back first" in said) == (3, True)
        code, said = await command("undelete", "acme/db", "-o", "json")
        told = msgspec.json.decode(said[said.index("{") : said.rindex("}") + 1])
        assert (code, told["told"]["code"]) == (0, "Done")
        assert told["deletion"] == (await site.comes(DeletionCancelled)).deletion
        code, said = await command("undelete", "acme/db")
        assert (code, "No deletion of the VM is scheduled" in said) == (3, True)
        with pytest.raises(TurnedAwayError, match="the earliest is") as refused:
            await command("delete", "acme/db", "--on", "2020-01-01", "--reason", "over")
        assert (refused.value.code, refused.value.exit_code) == ("DeletionTooSoon", 2)
