"""Who hears of what befell a VM and nobody ordered: each technical contact, once, and again when it is over."""

import datetime as dt
import functools

import msgspec

from events.copy import CopyDue, CopyFailed, CopyMade
from events.deletion import VolumeErased
from events.drift import DomainDrifted, DomainSettled, VmOomKilled, VolumeDrifted, VolumeSettled
from events.gate import Answer, CopyOrdered
from events.ids import derive
from events.keep import VmCreated
from events.mail import is_of_refusals, is_of_trouble
from events.vm import VmRebooted
from schemas.capacity import Size
from schemas.codes import Code
from services.notifier import misfortune, troubles
from services.notifier.decide import digest_at
from services.notifier.port import Mail
from services.storage.copies import nights
from tests.rules.desk import Desk, play
from tests.rules.notifier_relay import Gate, Relay, accepted, named, notifier
from tests.rules.test_notifier_signals import WATCHED, people
from tests.simulation.clock import pause

NIGHT = dt.date(2026, 11, 21)
MISSING = "/run/virtscale-789e60ca/h1/volumes/acme.db.qcow2"


def kept(desk: Desk, vm: str = "db") -> None:
    desk.write(
        VmCreated(
            org="acme",
            vm=vm,
            pool="apps",
            size=Size("vs.xs", 1, 1024),
            image="debian",
            kind="cloud-init",
            readiness="none",
            disk_bytes=1 << 30,
            seed=None,
            protected=False,
            actor="kim",
            created_at=desk.clock.now(),
        )
    )


def disk(
    desk: Desk, vm: str = "db", *, what: str = "missing", repair: str = "none", found: str = "no such file"
) -> str:
    id_ = derive("disk", vm, what, found, desk.clock.now().isoformat())
    now = desk.clock.now()
    desk.write(VolumeDrifted("acme", vm, "h1", what, MISSING, found, repair, None, now), id=id_)
    return id_


def whole(desk: Desk, vm: str = "db", *, what: str = "missing") -> str:
    id_ = derive("whole", vm, desk.clock.now().isoformat())
    desk.write(VolumeSettled("acme", vm, "h1", what, desk.clock.now()), id=id_)
    return id_


def domain(desk: Desk, vm: str = "db", *, what: str = "elsewhere", repair: str = "stop") -> str:
    id_ = derive("domain", vm, what, desk.clock.now().isoformat())
    now = desk.clock.now()
    desk.write(
        DomainDrifted("acme", vm, "h1", what, "on h2", "running on h1", repair, None, None, now), id=id_
    )
    return id_


def kills(desk: Desk, vm: str = "db") -> str:
    id_ = derive("kills", vm, desk.clock.now().isoformat())
    now = desk.clock.now()
    desk.write(VmOomKilled("acme", vm, "h1", "a" * 32, 3, 96, "Give it more memory.", now), id=id_)
    return id_


def reboots(desk: Desk, vm: str = "db") -> str:
    id_ = derive("reboots", vm, desk.clock.now().isoformat())
    desk.write(VmRebooted("acme", vm, "h1", "a" * 32, desk.clock.now()), id=id_)
    return id_


class Tries:
    """Storage asks for the backup of a night, and the gate orders it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._fence = 0

    def asks(self, attempt: int) -> str:
        """The order's id."""
        now = self.desk.clock.now()
        copy = f"night-{NIGHT.isoformat()}"
        request, order = derive("due", attempt), derive("order", attempt)
        seq = self.desk.write(CopyDue("acme", "db", "apps", copy, NIGHT, attempt, now), id=request).seq
        answer = Answer(request, seq, "apps", "admitted", "Granted", 1, 1, (), retry_at=None)
        decided = Gate.decision("acme", self._fence, now, answer)
        ordered = CopyOrdered(
            id=order,
            vm="db",
            pool="apps",
            host="h1",
            volume=MISSING,
            copy=copy,
            kind="backup",
            size_bytes=1 << 30,
            request=request,
        )
        self._fence = self.desk.write(msgspec.structs.replace(decided, orders=(ordered,))).seq
        return order

    def refused(self, attempt: int, code: Code) -> None:
        """The gate refuses it."""
        now, request = self.desk.clock.now(), derive("due", attempt)
        copy = f"night-{NIGHT.isoformat()}"
        seq = self.desk.write(CopyDue("acme", "db", "apps", copy, NIGHT, attempt, now), id=request).seq
        answer = Answer(request, seq, "apps", "refused", code, 1, 0, (), retry_at=None)
        self._fence = self.desk.write(Gate.decision("acme", self._fence, now, answer)).seq

    def fails(self, attempt: int) -> str:
        """The id of what storage says of it."""
        order, now, id_ = self.asks(attempt), self.desk.clock.now(), derive("failed", attempt)
        copy = f"night-{NIGHT.isoformat()}"
        text = "The directory of backups is full."
        self.desk.write(CopyFailed("acme", "db", "h1", copy, "backup", order, "no-space", text, now), id=id_)
        return id_


def to_ops(relay: Relay) -> list[Mail]:
    return [mail for mail in relay.taken if mail.to == "ops@acme.test"]


def words(mail: Mail) -> str:
    return " ".join(mail.text.split())


def test_a_disk_that_is_otherwise_is_told_to_each_technical_contact_and_so_is_its_return() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        async with notifier(desk, relay, people()):
            kept(desk)
            gone = disk(desk)
            await pause(20)
            told = accepted(desk)
            assert {mail.person: mail.requests for mail in told} == {
                "acme-ops": (gone,),
                "acme-night": (gone,),
            }
            assert all(is_of_trouble(mail.message_id) for mail in told)
            assert not any(is_of_refusals(mail.message_id) for mail in told)
            assert digest_at(told[0], told[0].refused_at) is None
            [mail] = to_ops(relay)
            assert mail.subject == "acme/db: its disk is not as the ledger has it (missing)"
            assert f"Expected: {MISSING}. Found: no such file." in words(mail)
            assert "no worker puts it right" in mail.text
            await pause(1000)
            again = whole(desk)
            await pause(1000)
            assert named(desk) == [gone, gone, again, again]
            assert to_ops(relay)[1].subject == "acme/db: its disk is as the ledger has it again (missing)"

    play(scene)


def test_what_a_worker_puts_right_alone_and_what_comes_and_goes_with_demand_is_not_mailed() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        async with notifier(desk, relay, people()):
            kept(desk)
            domain(desk, what="size", repair="reboot")
            desk.write(DomainSettled("acme", "db", "h1", "size", desk.clock.now()))
            disk(desk, "web-1", what="parent")
            domain(desk, "web-1")
            await pause(2000)
            assert relay.taken == []

    play(scene)


def test_a_vm_at_two_places_is_mailed_though_its_second_life_is_ended() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        async with notifier(desk, relay, people()):
            kept(desk)
            domain(desk)
            await pause(20)
            [mail] = to_ops(relay)
            assert mail.subject == "acme/db: its domain is not as the ledger has it (elsewhere)"
            assert "its power is cut there, before both write to one disk" in words(mail)

    play(scene)


def test_a_difference_that_is_told_twice_in_the_ledger_is_mailed_once() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        async with notifier(desk, relay, people()):
            kept(desk)
            for _ in range(5):
                disk(desk)
                await pause(1000)
            assert len(to_ops(relay)) == 1

    play(scene)


def test_a_disk_that_is_erased_meanwhile_is_not_said_to_be_as_it_should() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        async with notifier(desk, relay, people()):
            kept(desk)
            disk(desk)
            await pause(20)
            desk.write(VolumeErased("acme", "db", "h1", "b" * 32, None, 0, desk.clock.now()))
            whole(desk)
            await pause(2000)
            assert len(to_ops(relay)) == 1

    play(scene)


def test_only_the_last_try_of_a_nights_backup_that_failed_is_mailed() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        async with notifier(desk, relay, people()):
            kept(desk)
            tries = Tries(desk)
            for attempt in range(1, nights.MOST_TRIES):
                tries.fails(attempt)
                await pause(600)
            assert relay.taken == []
            failed = tries.fails(nights.MOST_TRIES)
            await pause(20)
            assert [mail.requests for mail in accepted(desk)] == [(failed,)] * 2
            [mail] = to_ops(relay)
            assert mail.subject == "acme/db: no backup of the night of 2026-11-21"
            assert "The directory of backups is full." in words(mail)

    play(scene)


def test_the_last_try_of_a_nights_backup_that_was_refused_is_mailed_where_the_contract_is_not_the_reason() -> (
    None
):
    async def scene(code: Code, mails: int) -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        async with notifier(desk, relay, people()):
            kept(desk)
            tries = Tries(desk)
            for attempt in range(1, nights.MOST_TRIES + 1):
                tries.refused(attempt, code)
            await pause(20)
            assert len(to_ops(relay)) == mails
            for mail in to_ops(relay):
                assert mail.subject == "acme/db: no backup of the night of 2026-11-21"
                assert (
                    "was refused: The VM has as many copies as one may have, 500: drop some first."
                    in words(mail)
                )

    cases: tuple[tuple[Code, int], ...] = (("CopiesFull", 1), ("CapExceeded", 0), ("BeingDeleted", 0))
    for code, mails in cases:
        play(functools.partial(scene, code, mails))


def test_a_last_try_that_succeeds_is_not_mailed() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        async with notifier(desk, relay, people()):
            kept(desk)
            tries = Tries(desk)
            order, now = tries.asks(nights.MOST_TRIES), desk.clock.now()
            copy, place = f"night-{NIGHT.isoformat()}", "/backups/acme/db.qcow2"
            desk.write(CopyMade("acme", "db", "h1", copy, "backup", order, place, 1, 1, "0" * 64, now, now))
            desk.write(CopyFailed("acme", "db", "h1", copy, "backup", order, "late", "Told late.", now))
            await pause(2000)
            assert relay.taken == []

    play(scene)


def test_the_last_try_is_the_one_after_which_storage_asks_no_more() -> None:
    assert troubles.LAST_TRY == nights.MOST_TRIES


def test_a_guest_that_runs_out_of_memory_all_day_is_mailed_once_a_day() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        async with notifier(desk, relay, people()):
            for _ in range(47):  # into the last hour of the second day
                kills(desk)
                await pause(3600)
            kills(desk, "other")
            await pause(3600)
            assert [mail.subject for mail in to_ops(relay)] == [
                "acme/db: its kernel killed processes for want of memory",
                "acme/db: its kernel killed processes for want of memory",
                "acme/other: its kernel killed processes for want of memory",
            ]
            assert "killed 3 processes for want of memory; it has 96 MiB. Give it more memory." in words(
                relay.taken[0]
            )

    play(scene, most_seconds=1e6)


def test_a_reboot_that_nobody_ordered_is_mailed_once_however_often_it_is_told() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        async with notifier(desk, relay, people()):
            fact = VmRebooted("acme", "db", "h1", "a" * 32, desk.clock.now())
            desk.write(fact, id=derive("once"))
            await pause(20)
            desk.write(fact, id=derive("twice"))
            await pause(2000)
            [mail] = to_ops(relay)
            assert mail.subject == "acme/db: rebooted, and nobody ordered it"

    play(scene)


def test_a_storm_is_one_mail_in_each_period_that_names_all_of_it() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        async with notifier(desk, relay, people()):
            told = []
            for minute in range(30):
                told += [reboots(desk, f"web-{number}") for number in range(3)]
                if minute == 3:
                    kept(desk)
                    told.append(disk(desk))
                await pause(60)
            await pause(2000)
            assert sorted(named(desk)) == sorted(told)
            assert [len(mail.requests) for mail in accepted(desk)] == [3, 43, 45]
            assert relay.taken[1].subject == "43 things to look at on 4 VMs of acme"

    play(scene)


def test_a_mail_stays_below_what_relays_take_whatever_hosts_say() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        async with notifier(desk, relay, people()):
            for number in range(misfortune.MOST_NAMED + 50):
                vm = f"{'v' * 30}-{number}"
                kept(desk, vm)
                disk(desk, vm, found="x\n" * 400)
            await pause(20)
            assert sorted(len(mail.requests) for mail in accepted(desk)) == [50, misfortune.MOST_NAMED]
            assert max(len(mail.text.encode()) for mail in relay.taken) < 140_000

    play(scene)


def test_a_mail_is_the_same_after_a_restart_and_nothing_is_told_twice() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay([True])
        desk.contract()
        async with notifier(desk, relay, people()):
            kept(desk)
            disk(desk)
            kills(desk)
            await pause(10.2)
        async with notifier(desk, relay, people()):
            await pause(60)
        async with notifier(desk, relay, people()):
            await pause(2000)
        assert len({mail.message_id for mail in relay.taken}) == 1
        assert len(accepted(desk)) == 1

    play(scene)


def test_what_happened_to_vms_of_an_org_without_a_contract_has_nobody_to_be_told() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        async with notifier(desk, relay, people()):
            reboots(desk)
            await pause(2000)
            assert relay.taken == []

    play(scene)
