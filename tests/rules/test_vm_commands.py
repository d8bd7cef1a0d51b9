"""What the commands about kept VMs say while they follow a request, and what they end with."""

import pytest

from events.gate import BootOrdered, GrowOrdered
from events.vm import VmRebootFailed, VmStopped, VmUnready, VmWakeFailed
from events.volume import VolumeGrown
from tests.given import ORG
from tests.keeping import GIB, ONE, SIX, TWO, Keeping
from virtscale.amounts import size_bytes
from virtscale.exits import EXIT_DONE, EXIT_FAILED, EXIT_REFUSED, EXIT_TIMEOUT
from virtscale.invocation import UsageError
from virtscale.vms.asking import Following
from virtscale.vms.named import pool_of, vm_name, vm_of


def followed(past: Keeping, request: str, vm: str = "db") -> tuple[Following, bool]:
    """What a command knows that has read all of the ledger, and whether it went on reading to its end."""
    following = Following(ORG, vm, request)
    for recorded in past.lines:
        if following.hears(recorded):
            return following, True
    return following, False


def test_a_vm_is_followed_from_the_decision_until_its_guest_answers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    past = Keeping().setting()
    asked = past.create()
    past.round()
    assert followed(past, asked.id)[1] is False
    past.runs()
    following, ended = followed(past, asked.id)
    assert ended
    assert following.code == EXIT_DONE
    told = following.told(1.5)
    assert (told.vm, told.outcome, told.code) == ("acme/db", "admitted", "Granted")
    assert told.orders[0].startswith("boot db on h1, to begin by ")
    assert told.ended == "the guest of db answered probe 1"
    assert "acme/db: granted." in capsys.readouterr().err


def test_a_refusal_ends_at_once_with_the_numbers_and_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    past = Keeping().setting()
    asked = past.create(size=SIX)
    past.round()
    following, ended = followed(past, asked.id)
    assert (ended, following.code) == (True, EXIT_REFUSED)
    said = capsys.readouterr().err
    assert "would take acme to 6 vCPU (0 in use, 0 reserved, 6 requested); the signed cap is 4" in said


def test_what_waits_for_a_window_is_said_to_and_nothing_more_is_waited_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    past = Keeping().running()
    asked = past.change("reboot", when="window")
    past.round()
    following, ended = followed(past, asked.id)
    assert (ended, following.code) == (True, EXIT_DONE)
    assert "acme/db: It is done in the next maintenance window that fits" in capsys.readouterr().err


def test_a_disk_that_grows_and_a_size_that_waits_end_with_the_disk() -> None:
    past = Keeping().running()
    asked = past.resize(TWO, disk_gib=40, when="window")
    _, (grow,) = past.answer()
    assert isinstance(grow, GrowOrdered)
    assert followed(past, asked.id)[1] is False
    past.happened(
        VolumeGrown(ORG, "db", "h1", grow.volume, grow.id, 40 * GIB, past.now),
    )
    following, ended = followed(past, asked.id)
    assert (ended, following.code) == (True, EXIT_DONE)


def test_whatever_fails_ends_with_code_1_and_why() -> None:
    past = Keeping().running()
    asked = past.resize(TWO)
    past.round()
    own = past.reservation("db")
    past.happened(VmRebootFailed(ORG, "db", "h1", own, ONE, "host-full", "Host h1 lacks 7 MiB.", past.now))
    following, ended = followed(past, asked.id)
    assert (ended, following.code) == (True, EXIT_FAILED)
    assert following.told(0).ended == "db was not rebooted and runs on: host-full: Host h1 lacks 7 MiB."


@pytest.mark.parametrize("kind", [VmWakeFailed, VmUnready])
def test_a_vm_that_does_not_come_up_is_a_failure(kind: type[VmWakeFailed | VmUnready]) -> None:
    past = Keeping().setting()
    asked = past.create()
    _, (boot,) = past.answer()
    assert isinstance(boot, BootOrdered)
    if kind is VmUnready:
        past.happened(VmUnready(ORG, "db", boot.id, "probe-timeout", "silent", past.now, 9))
    else:
        past.happened(VmWakeFailed(ORG, "db", "h1", boot.id, "wake-refused", "no", "off", past.now))
    following, ended = followed(past, asked.id)
    assert (ended, following.code) == (True, EXIT_FAILED)


def test_what_happens_to_other_vms_and_under_other_reservations_ends_nothing() -> None:
    past = Keeping().running()
    asked = past.change("stop")
    past.round()
    past.happened(VmStopped(ORG, "db", "h1", "f" * 32, None, "found", "off", past.now))
    past.happened(VmStopped(ORG, "other", "h1", past.reservation("db"), None, "found", "off", past.now))
    assert followed(past, asked.id)[1] is False
    past.off()
    assert followed(past, asked.id)[1] is True


def test_a_command_that_gives_up_says_that_the_request_stands(capsys: pytest.CaptureFixture[str]) -> None:
    following, _ = followed(Keeping().setting(), "0" * 32)
    following.gives_up(5, 41)
    assert following.code == EXIT_TIMEOUT
    assert "No gate answered within 5 s; the request stands at ledger sequence 41" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["db", "acme/", "/db", "acme/db/x", "Acme/db", "acme/d_b", "acme/../x"])
def test_what_is_no_vm_and_no_pool_is_said_to_be_none(target: str) -> None:
    with pytest.raises(UsageError, match="ORG/NAME, for example acme/db"):
        vm_of(target)
    with pytest.raises(UsageError, match="ORG/POOL, for example acme/apps"):
        pool_of(target)


@pytest.mark.parametrize("name", ["", "Db", "a" * 41, "a.b", "-a", "a\n"])
def test_what_is_no_name_is_said_to_be_none(name: str) -> None:
    with pytest.raises(UsageError, match="no name for a VM"):
        vm_name(name)


@pytest.mark.parametrize("text", ["", "40", "40 GiB", "-1GiB", "1e3GiB", "40GB", "٤GiB", "1.5TiB"])
def test_what_is_no_size_of_a_disk_is_said_to_be_none(text: str) -> None:
    with pytest.raises(UsageError, match="as 40GiB"):
        size_bytes(text)


def test_a_disk_is_said_in_any_unit() -> None:
    assert [size_bytes("1KiB"), size_bytes("40GiB"), size_bytes("2TiB")] == [1024, 40 * GIB, 2048 * GIB]
