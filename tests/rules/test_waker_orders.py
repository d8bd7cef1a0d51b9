"""The waker carries out orders, and releases nothing without proof."""

import pytest
from msgspec.structs import replace

from events.vm import Refreshed, VmBooted, VmDefined, VmQuiesced, VmResumed, VmStopped, VmWakeFailed
from services.waker.effects import MOST_EFFECTS
from tests.rules.desk import play
from tests.rules.waker_host import BOOT_SECONDS, NO, PLACE, WAKE_SECONDS, Fate, Site
from tests.simulation.clock import pause


def test_a_sleeper_is_resumed_with_one_call_refreshed_with_one_more_and_said_once() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await pause(1)
            site.host.asked.clear()
            order = site.wake()
            await pause(5)
        assert site.host.asked == ["resume vs-acme.web-1", "refresh vs-acme.web-1"]
        (said,) = site.said(VmResumed)
        assert (said.reservation, said.attempts, said.depth) == (order, 1, "paused")
        assert said.refreshed == Refreshed(1, 64)
        assert site.host.of("web-1") == "running"

    play(scene)


def test_an_order_that_came_too_late_is_not_begun_and_its_end_is_proven() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        order = site.wake()
        await pause(WAKE_SECONDS + 1)
        async with site.waker():
            await pause(5)
        assert "resume vs-acme.web-1" not in site.host.asked
        assert "suspend vs-acme.web-1" in site.host.asked
        (said,) = site.said(VmWakeFailed)
        assert (said.reservation, said.code, said.found) == (order, "order-expired", "paused")

    play(scene)


def test_a_boot_that_was_defined_too_slowly_is_not_begun_after_its_deadline() -> None:
    async def scene() -> None:
        site = Site()
        order = site.boot()
        site.host.fates["define"].append(Fate(lands_after=BOOT_SECONDS + 5, answers_after=BOOT_SECONDS + 5))
        async with site.waker():
            await pause(BOOT_SECONDS + 20)
        assert "start vs-acme.web-1" not in site.host.asked
        (said,) = site.said(VmWakeFailed)
        assert (said.reservation, said.code, said.found) == (order, "order-expired", "off")

    play(scene)


def test_what_a_former_life_resumed_is_said_and_not_undone_however_late() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        order = site.wake()
        site.host.put("web-1", "running", heard=False)
        await pause(WAKE_SECONDS + 1)
        async with site.waker():
            await pause(5)
        assert [said.reservation for said in site.said(VmResumed)] == [order]
        assert site.said(VmWakeFailed) == []
        assert site.host.of("web-1") == "running"

    play(scene)


def test_a_resume_that_lands_after_the_deadline_is_held_down_before_the_capacity_is_free() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        late = Fate(lands_after=WAKE_SECONDS + 40, answers_after=20, error="no answer")
        silent = Fate(lands_after=None, answers_after=20, error="no answer")
        site.host.fates["resume"].extend([late, silent, silent, silent, silent])
        async with site.waker():
            site.wake()
            await pause(WAKE_SECONDS + 35)
            assert site.said(VmWakeFailed) == []
            await pause(60)
        (said,) = site.said(VmWakeFailed)
        assert (said.code, said.found) == ("wake-refused", "paused")
        assert site.host.of("web-1") == "paused"
        assert site.host.asked[-2:] == ["suspend vs-acme.web-1", "state vs-acme.web-1"]

    play(scene)


def test_a_refused_wake_is_tried_again_with_growing_pauses_until_its_deadline() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        site.host.fates["resume"].extend([NO] * 1000)
        async with site.waker():
            site.wake()
            await pause(WAKE_SECONDS + 10)
        attempts = site.host.asked.count("resume vs-acme.web-1")
        assert 30 <= attempts <= 40
        (said,) = site.said(VmWakeFailed)
        assert said.code == "wake-refused"
        assert f"{attempts} attempts: internal error" in said.text

    play(scene)


def test_a_second_attempt_succeeds_and_is_counted() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        site.host.fates["resume"].append(NO)
        async with site.waker():
            site.wake()
            await pause(2)
        assert [said.attempts for said in site.said(VmResumed)] == [2]

    play(scene)


def test_an_effect_that_landed_in_silence_is_seen_and_not_repeated() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        site.host.fates["resume"].append(Fate(answers_after=20, error="no answer"))
        async with site.waker():
            site.wake()
            await pause(30)
        assert site.host.asked.count("resume vs-acme.web-1") == 1
        assert [said.attempts for said in site.said(VmResumed)] == [1]

    play(scene)


def test_a_guest_that_answered_before_its_waker_spoke_is_said_to_run() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        site.host.fates["resume"].append(Fate(answers_after=20, error="no answer"))
        async with site.waker():
            order = site.wake()
            await pause(1)
            site.ready("web-1", order)
            await pause(30)
        assert [said.reservation for said in site.said(VmResumed)] == [order]

    play(scene)


def test_a_guest_that_ran_under_an_order_and_died_is_not_woken_again_under_it() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        site.host.fates["resume"].append(Fate(answers_after=20, error="no answer"))
        async with site.waker():
            order = site.wake()
            await pause(1)
            site.host.put("web-1", "off", "crashed")
            await pause(30)
        assert [(said.reservation, said.cause) for said in site.said(VmStopped)] == [(order, "crashed")]
        assert "start vs-acme.web-1" not in site.host.asked

    play(scene)


def test_a_sleeper_that_lost_its_ram_is_booted() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await pause(1)
            site.host.put("web-1", "off", heard=False)
            order = site.wake()
            await pause(5)
        assert [said.reservation for said in site.said(VmBooted)][1:] == [order]
        assert len(site.said(VmDefined)) == 1

    play(scene)


def test_a_new_vm_is_defined_and_booted() -> None:
    async def scene() -> None:
        site = Site()
        async with site.waker():
            order = site.boot()
            await pause(5)
        assert site.names()[1:] == ["vm.defined", "vm.booted"] or site.names() == [
            "vm.defined",
            "vm.booted",
            "host.registered",
        ]
        (said,) = site.said(VmDefined)
        assert (said.reservation, said.address) == (order, "127.0.0.1:21000")

    play(scene)


def test_a_missing_template_fails_the_order_at_once() -> None:
    async def scene() -> None:
        site = Site()
        site.host.templates.clear()
        async with site.waker():
            site.boot()
            await pause(2)
        (said,) = site.said(VmWakeFailed)
        assert (said.code, said.found) == ("template-missing", "missing")

    play(scene)


def test_a_hypervisor_that_does_not_answer_releases_nothing() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await pause(1)
            site.host.up = False
            site.wake()
            await pause(WAKE_SECONDS * 10)
            assert site.said(VmWakeFailed) == []
            site.host.up = True
            await pause(10)
        assert len(site.said(VmWakeFailed)) == 1

    play(scene)


def test_a_lost_connection_is_made_anew_and_the_order_carried_out() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await pause(1)
            site.host.up = False
            site.host.lose()
            order = site.wake()
            await pause(10)
            site.host.up = True
            await pause(5)
        assert [said.reservation for said in site.said(VmResumed)] == [order]

    play(scene)


def test_what_the_ledger_told_while_the_connection_was_lost_is_not_done_again() -> None:
    async def scene() -> None:
        site = Site()
        reservation = site.awake()
        async with site.waker():
            await pause(1)
            site.host.up = False
            site.host.lose()
            site.suspend("web-1", reservation)
            await pause(0.1)
            site.host.put("web-1", "paused", heard=False)
            site.quiesce("web-1", reservation)  # said by a former life, stored late
            site.host.asked.clear()
            await pause(0.1)
            site.host.up = True
            await pause(5)
        assert "suspend vs-acme.web-1" not in site.host.asked
        assert len(site.said(VmQuiesced)) == 1

    play(scene)


@pytest.mark.parametrize("killed_after", [0.0005, 0.0015, 0.0025, 0.004])
def test_a_waker_killed_at_any_moment_leaves_an_order_that_the_next_one_ends(killed_after: float) -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await pause(1)
            order = site.wake()
            await pause(killed_after)
        async with site.waker():
            await pause(5)
        assert {said.reservation for said in site.said(VmResumed)} == {order}
        assert site.host.of("web-1") == "running"

    play(scene)


def test_at_most_eight_effects_are_under_way() -> None:
    async def scene() -> None:
        site = Site(place=replace(PLACE, memory_mib=1 << 16))
        vms = [f"web-{number}" for number in range(1, 31)]
        async with site.waker():
            await pause(1)
            for vm in vms:
                site.boot(vm)
            await pause(5)
        assert site.host.most_at_once == MOST_EFFECTS
        assert len(site.said(VmBooted)) == 30

    play(scene)


def test_a_suspend_order_is_carried_out() -> None:
    async def scene() -> None:
        site = Site()
        reservation = site.awake()
        async with site.waker():
            site.suspend("web-1", reservation)
            await pause(5)
        (said,) = site.said(VmQuiesced)
        assert (said.reservation, said.cause) == (reservation, "ordered")
        assert site.host.of("web-1") == "paused"

    play(scene)


def test_a_refused_suspend_releases_nothing_until_one_is_answered() -> None:
    async def scene() -> None:
        site = Site()
        reservation = site.awake()
        wrong = Fate(error="internal error")
        site.host.fates["suspend"].extend([NO, wrong, NO, NO])
        async with site.waker():
            site.suspend("web-1", reservation)
            await pause(0.3)
            assert site.said(VmQuiesced) == []
            await pause(10)
        assert len(site.said(VmQuiesced)) == 1
        assert site.host.asked.count("suspend vs-acme.web-1") == 5

    play(scene)


def test_a_domain_that_is_off_when_it_shall_sleep_is_said_to_be_stopped() -> None:
    async def scene() -> None:
        site = Site()
        reservation = site.awake()
        site.host.put("web-1", "off", heard=False)
        site.suspend("web-1", reservation)
        async with site.waker():
            await pause(5)
        (said,) = site.said(VmStopped)
        assert (said.reservation, said.cause, said.found) == (reservation, "found", "off")

    play(scene)


def test_a_stop_order_is_carried_out_even_while_a_wake_hangs() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        site.host.fates["resume"].append(Fate(lands_after=25, answers_after=20, error="no answer"))
        async with site.waker():
            order = site.wake()
            await pause(1)
            site.unready("web-1", order)
            site.stop("web-1", order)
            await pause(60)
        (said,) = site.said(VmStopped)
        assert (said.reservation, said.cause, said.found) == (order, "ordered", "off")
        assert site.host.of("web-1") == "off"

    play(scene)
