"""Who hears of a deletion: each technical contact, once for each stage that matters, and one mail after a long silence."""

import datetime as dt

from events.deletion import DeletionBegun, DeletionCancelled, DeletionCompleted, DeletionScheduled
from events.ids import derive
from events.mail import is_of_deletion
from schemas.deletion import Schedule, Stage, policy, scheduled
from services.notifier.decide import digest_at
from services.notifier.port import Mail
from tests.rules.desk import Desk, play
from tests.rules.notifier_relay import TEMPORARY, Relay, accepted, notifier
from tests.rules.test_notifier_signals import WATCHED, people
from tests.simulation.clock import EPOCH, pause

DELETION = derive("a deletion")
DAY = dt.timedelta(days=1)
NEXT_WEEK = EPOCH.date() + 10 * DAY
WHO = {"org": "acme", "vm": "db", "pool": "apps", "deletion": DELETION}


class Told:
    """What becomes of one deletion, written into the desk's ledger."""

    def __init__(self, desk: Desk, day: dt.date = NEXT_WEEK) -> None:
        self.desk = desk
        now = desk.clock.now()
        self.schedule: Schedule = scheduled(day, "Europe/Berlin", policy(now), now)

    def schedules(self) -> None:
        self.desk.write(
            DeletionScheduled(
                **WHO,
                schedule=self.schedule,
                actor="kim",
                reason="no longer needed",
                scheduled_at=self.desk.clock.now(),
            ),
            id=derive("scheduled"),
        )

    def begins(self, stage: Stage) -> None:
        now = self.desk.clock.now()
        self.desk.write(
            DeletionBegun(**WHO, stage=stage, ran=stage == "soft", begun_at=now), id=derive("begun", stage)
        )

    def completes(self, *stages: Stage) -> None:
        for stage in stages:
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


def mine(relay: Relay) -> list[Mail]:
    return [mail for mail in relay.taken if mail.to == "ops@acme.test"]


def heads(relay: Relay) -> list[str]:
    return [mail.subject.partition(":")[0] for mail in mine(relay)]


def words(mail: Mail) -> str:
    return " ".join(mail.text.split())


def test_a_deletion_is_told_with_its_five_dates_how_to_take_it_back_and_an_entry_for_the_calendar() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        told = Told(desk)
        async with notifier(desk, relay, people()):
            told.schedules()
            told.schedules()
            await pause(5)
            mails = {mail.person: mail for mail in accepted(desk)}
            assert set(mails) == {"acme-ops", "acme-night"}
            assert all(is_of_deletion(mail.message_id) for mail in mails.values())
            mail = mine(relay)[0]
            assert mail.subject.startswith("To be deleted: acme/db, shut down ")
            for name in ("prepared:", "shut down:", "disk gone:", "backups gone:", "name free:"):
                assert name in mail.text
            assert "CET" in mail.text
            assert "by policy deletion-2024-10" in mail.text
            assert "`virtscale vm undelete acme/db`" in words(mail)
            assert "no longer needed" in mail.text
            assert "at once" not in mail.text
            entry = mail.appointment
            assert entry is not None
            assert (entry.start, entry.revision, entry.cancelled) == (told.schedule.soft, 0, False)
            assert len(relay.taken) == 2

    play(scene)


def test_one_that_is_prepared_at_once_says_so_and_has_no_second_mail_for_that() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        told = Told(desk, EPOCH.date() + 2 * DAY)
        assert told.schedule.prepared_at_once
        async with notifier(desk, relay, people()):
            told.schedules()
            told.begins("prepare")
            told.completes("prepare")
            await pause(60)
            assert heads(relay) == ["To be deleted"]
            assert "prepared at once" in words(mine(relay)[0])

    play(scene)


def test_each_stage_that_matters_is_one_mail_and_no_more_come_of_copies() -> None:
    async def scene() -> None:
        desk, relay = Desk(dedup_seconds=0.0), Relay([TEMPORARY, TEMPORARY])
        desk.contract(WATCHED)
        told = Told(desk)
        async with notifier(desk, relay, people()):
            told.schedules()
            stages: tuple[Stage, ...] = ("prepare", "soft", "hard", "purge", "recycle")
            for stage in stages:
                await told.until(stage)
                for _ in range(2):
                    told.begins(stage)
                    told.completes(stage)
                await pause(60)
            told.schedules()
            told.completes("hard")
            await pause(5000)
        assert heads(relay) == [
            "To be deleted",
            "Soon to be deleted",
            "Shut down to be deleted",
            "Deleted",
        ]
        assert [mail.appointment is not None for mail in mine(relay)] == [True, True, False, False]
        assert "gone 20" in mine(relay)[2].subject
        assert "backups until" in mine(relay)[3].subject
        assert "undelete" not in mine(relay)[3].text

    play(scene, most_seconds=1e8)


def test_a_cancelled_deletion_is_told_and_takes_its_entry_out_of_the_calendar() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        told = Told(desk)
        async with notifier(desk, relay, people()):
            told.schedules()
            await pause(60)
            told.cancels()
            await pause(60)
            assert heads(relay) == ["To be deleted", "Not deleted after all"]
            first, last = (mail.appointment for mail in mine(relay))
            assert first is not None
            assert last is not None
            assert (last.uid, last.revision, last.cancelled) == (first.uid, 1, True)
            assert "needed after all" in words(mine(relay)[1])

    play(scene)


def test_after_forty_days_without_anybody_one_mail_says_what_happened() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        told = Told(desk)
        told.schedules()
        await told.until("recycle", 40 * 86_400)
        async with notifier(desk, relay, people()):
            stages: tuple[Stage, ...] = ("prepare", "soft", "hard", "purge", "recycle")
            for stage in stages:
                told.begins(stage)
                await pause(20)
                assert relay.taken == []
                told.completes(stage)
            await pause(60)
            assert [mail.subject for mail in mine(relay)] == ["Deleted: acme/db, and nothing of it is left"]
            assert mine(relay)[0].text.count(" done") == 5

    play(scene, most_seconds=1e8)


def test_a_stage_that_hangs_keeps_nobody_from_hearing_how_far_it_is() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        told = Told(desk)
        told.schedules()
        await told.until("hard", 86_400)
        async with notifier(desk, relay, people()):
            told.begins("prepare")
            told.completes("prepare")
            told.begins("soft")
            told.completes("soft")
            await pause(890)
            assert relay.taken == []
            await pause(30)
            assert heads(relay) == ["Shut down to be deleted"]

    play(scene, most_seconds=1e8)


def test_one_that_is_cancelled_before_anybody_heard_of_it_is_one_mail() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        told = Told(desk)
        told.schedules()
        told.cancels()
        async with notifier(desk, relay, people()):
            await pause(60)
            assert heads(relay) == ["Not deleted after all"]

    play(scene)


def test_a_notifier_that_starts_anew_says_nothing_twice() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        Told(desk).schedules()
        for _ in range(3):
            async with notifier(desk, relay, people()):
                await pause(30)
        assert heads(relay) == ["To be deleted"]
        (mail, _) = accepted(desk)
        assert digest_at(mail, mail.refused_at + dt.timedelta(seconds=1)) is None

    play(scene)
