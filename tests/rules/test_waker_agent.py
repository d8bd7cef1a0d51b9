"""The guest agent is a program of the tenant: whatever it answers is no more than one guest's refusal to be refreshed."""

import json
import time
from typing import Any, cast

import libvirt
import libvirt_qemu
import pytest
from msgspec.structs import replace

from events.pool import PoolDefined
from events.vm import VmResumed
from services.waker.libvirt import agent
from services.waker.port import ENTROPY_BYTES, REFRESH_SECONDS, Domain, HypervisorError, domain_name
from tests.rules.desk import play, pool
from tests.rules.waker_host import SIZE, Host, Site
from tests.simulation.clock import pause

ODD: dict[str, tuple[str, Any]] = {
    "no count": ("guest-file-write", {}),
    "a negative count": ("guest-file-write", {"count": -1}),
    "more than it was given": ("guest-file-write", {"count": ENTROPY_BYTES + 1}),
    "a count beyond all counting": ("guest-file-write", {"count": 10**30}),
    "a count that is a word": ("guest-file-write", {"count": "64"}),
    "nothing at all": ("guest-file-write", None),
    "a file that is a list": ("guest-file-open", [1]),
    "a time that is a word": ("guest-get-time", "soon"),
    "a time before all time": ("guest-get-time", -1),
    "a time beyond all time": ("guest-get-time", 10**400),
    "a time that is a fraction": ("guest-get-time", 1.5),
}
GARBLED = ("", "soon", "[]", "{}", '{"return"', '{"return": ' + "[" * 100_000, "\udcff")


class Guest:
    """A domain whose agent answers properly but for what it is told to say."""

    def __init__(self, command: str = "", said: object = None, raw: str | None = None) -> None:
        self.command, self.said, self.raw = command, said, raw
        self.lefts: list[int] = []

    def name(self) -> str:
        return "vs-acme.web-1"

    def agentSetResponseTimeout(self, _seconds: int) -> int:  # noqa: N802 - libvirt's name
        return 0

    def setTime(self, _moment: dict[str, int]) -> int:  # noqa: N802 - libvirt's name
        return 0

    def ask(self, asked: str, left: int) -> str:
        self.lefts.append(left)
        command = json.loads(asked)["execute"]
        if self.raw is not None:
            return self.raw
        proper = {
            "guest-file-open": 1000,
            "guest-file-write": {"count": ENTROPY_BYTES},
            "guest-file-close": {},
            "guest-get-time": time.time_ns(),
        }
        return json.dumps({"return": self.said if command == self.command else proper[command]})


@pytest.fixture(autouse=True)
def agents(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(domain: Guest, asked: str, left: int, _flags: int) -> str:
        return domain.ask(asked, left)

    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", ask)


def refresh(guest: Guest) -> int:
    return agent.refresh(cast("libvirt.virDomain", guest))


def test_an_agent_that_answers_properly_has_refreshed_its_guest() -> None:
    assert refresh(Guest()) == ENTROPY_BYTES


@pytest.mark.parametrize("what", ODD)
def test_an_agent_that_answers_oddly_has_not_refreshed_its_guest_and_that_is_all(what: str) -> None:
    with pytest.raises(HypervisorError) as refusal:
        refresh(Guest(*ODD[what]))
    assert not refusal.value.lost
    assert ODD[what][0] in str(refusal.value)


@pytest.mark.parametrize("raw", GARBLED, ids=range(len(GARBLED)))
def test_an_answer_that_is_none_is_no_more_than_a_refusal(raw: str) -> None:
    with pytest.raises(HypervisorError, match="no proper answer"):
        refresh(Guest(raw=raw))


def test_an_agent_that_is_slow_with_every_word_has_no_more_time_than_one_that_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guest, ticks = Guest(), iter(range(100))
    monkeypatch.setattr(agent.time, "monotonic", lambda: float(next(ticks)))
    refresh(guest)
    assert guest.lefts == sorted(guest.lefts, reverse=True)
    assert guest.lefts[0] < REFRESH_SECONDS
    assert guest.lefts[-1] == 1


async def _resumed_beside_odd_guests(waker_lives: int) -> Site:
    class Odd(Host):
        """The agent of one guest is beyond everything that its driver foresaw; what it says is told as it is."""

        async def refresh(self, name: str) -> int:
            await super().refresh(name)
            return -1 if name.endswith("web-1") else ENTROPY_BYTES

    site = Site(odd := Odd())
    site.host = odd
    site.asleep("web-1", "web-2")
    site.desk.write(PoolDefined(org="acme", pool="web", definition=replace(pool(), refresh="agent")))
    for life in range(waker_lives):
        async with site.waker():
            await pause(1)
            if life == 0:
                site.wake("web-1")
            await pause(30)
            if life == waker_lives - 1:
                site.wake("web-2", 5)
                await pause(10)
    return site


@pytest.mark.parametrize("lives", [1, 3])
def test_what_cannot_be_told_of_one_vm_keeps_its_waker_from_no_other(lives: int) -> None:
    async def scene() -> None:
        site = await _resumed_beside_odd_guests(lives)
        assert [said.vm for said in site.said(VmResumed)] == ["web-2"]

    play(scene)


def test_a_stranger_whose_mark_names_no_name_keeps_its_waker_from_no_other() -> None:
    async def scene() -> None:
        class Crowded(Host):
            async def domains(self) -> list[Any]:
                strange = Domain(domain_name("acme", "web_77"), "acme", "web", "web_77", SIZE, "running")
                return [*await super().domains(), strange]

        site = Site(crowded := Crowded())
        site.host = crowded
        site.host.states[domain_name("acme", "web_77")] = "running"
        site.asleep("web-1")
        async with site.waker():
            await pause(120)
            own = site.wake("web-1")
            await pause(5)
        assert [said.reservation for said in site.said(VmResumed)] == [own]

    play(scene)
