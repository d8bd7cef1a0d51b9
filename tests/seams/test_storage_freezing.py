"""Guests that stand still for a snapshot while the agents of others do not answer."""

import asyncio
import json
import threading
from types import SimpleNamespace

import pytest

from schemas.house import HostPlace
from services.storage.copies import freezing
from services.storage.copies.freezing import Freezer
from services.storage.link import Link
from tests.support import eventually

SECONDS = 10
PLACE = HostPlace("h1", "test:///default", "tcg", 1024, 20000)


async def test_a_guest_that_stands_still_moves_again_while_another_agent_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent, asked, frozen = threading.Event(), list[str](), set[str]()

    def agent(domain: str, command: str, seconds: int, flags: int) -> str:
        del seconds, flags
        asked.append(domain)
        if domain == "hung":
            assert silent.wait(SECONDS)
        (frozen.add if json.loads(command)["execute"].endswith("freeze") else frozen.discard)(domain)
        return "1"

    def connected(link: Link) -> object:
        del link
        return SimpleNamespace(lookupByName=str)

    monkeypatch.setattr(freezing, "libvirt_qemu", SimpleNamespace(qemuAgentCommand=agent))
    monkeypatch.setattr(Link, "connected", connected)
    freezer = Freezer(lambda _: PLACE)

    async def another() -> None:
        async with freezer.still("h1", "hung"):
            pass

    try:
        async with asyncio.TaskGroup() as tasks:
            async with freezer.still("h1", "good") as stands:
                assert stands
                assert frozen == {"good"}
                tasks.create_task(another())
                await eventually(lambda: "hung" in asked, SECONDS)
            assert frozen == set(), "it thaws, though the other has not answered"
            assert not silent.is_set()
            silent.set()
    finally:
        silent.set()
    assert frozen == set()
