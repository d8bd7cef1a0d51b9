"""Silences in a real Alertmanager: from their instant on, and once however often they are asked for."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from lab import alertmanager as lab
from lab.metrics import Alerts, Metrics, Target
from lab.ports import LOOPBACK
from services.deleter.alertmanager import Alertmanager
from services.deleter.port import SilenceError
from tests.seams.alerts import HOUR, alert, listed, now, silence, speaking, states, wanted
from tests.support import eventually, free_port

SECOND: Final = dt.timedelta(seconds=1)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[lab.Alertmanager]:
    part = lab.Alertmanager(tmp_path, free_port())
    await part.start()
    yield part
    await part.stop()


@pytest.fixture
async def http(server: lab.Alertmanager) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        yield client


@pytest.fixture
async def silences(server: lab.Alertmanager) -> AsyncIterator[Alertmanager]:
    port = Alertmanager(server.url)
    yield port
    await port.close()


async def test_alerts_of_the_vm_are_suppressed_from_the_instant_on_and_no_others(
    silences: Alertmanager, http: httpx.AsyncClient
) -> None:
    for labels in ({"org": "acme", "vm": "db"}, {"org": "acme", "vm": "db-2"}, {"org": "other", "vm": "db"}):
        await alert(http, **labels)
    await alert(http, vm="db")
    begins_at = now() + 2 * SECOND
    ours = await silences.set(wanted(begins_at))
    [found] = await silences.find("acme", "db", "d" * 32)
    assert (found.id, found.begun) == (ours, False)
    before = 0

    async def begun() -> bool:
        nonlocal before
        told = await states(http)
        if now() < begins_at:
            assert set(told.values()) == {"active"}
            before += 1
        return told["acme/db"] == "suppressed"

    await eventually(begun, 4)
    assert before > 0
    assert await states(http) == {
        "acme/db": "suppressed",
        "acme/db-2": "active",
        "other/db": "active",
        "/db": "active",
    }
    [found] = await silences.find("acme", "db", "d" * 32)
    assert (found.id, found.begun) == (ours, True)
    assert found.ends_at - found.starts_at == 38 * 24 * HOUR

    await silences.end(ours)
    await silences.end(ours)
    assert (await states(http))["acme/db"] == "active"
    assert await silences.find("acme", "db", "d" * 32) == ()


async def test_a_prometheus_whose_targets_say_org_and_vm_makes_alerts_that_are_suppressed(
    server: lab.Alertmanager, silences: Alertmanager, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    """As docs/signals.md tells users: labels of the target are labels of its series, and those of what fires."""
    await silences.set(wanted(now()))
    metrics = Metrics(
        tmp_path / "prometheus",
        free_port(),
        [
            Target(f"node-{vm}", f"{LOOPBACK}:{free_port()}", labels=(("org", "acme"), ("vm", vm)))
            for vm in ("db", "web")
        ],
        alerts=Alerts(
            f"{LOOPBACK}:{server.port}", (("Down", "max by (org, vm) (up) == 0"), ("Some", "min(up) == 0"))
        ),
    )
    await metrics.start()
    expected = {"acme/db": "suppressed", "acme/web": "active", "/": "active"}
    try:
        await eventually(lambda: _told(http, expected), 15, every_seconds=0.1)
    finally:
        await metrics.stop()


async def _told(http: httpx.AsyncClient, expected: dict[str, str]) -> bool:
    return await states(http) == expected


async def test_a_life_that_repeats_what_a_former_one_did_makes_no_second(
    server: lab.Alertmanager, silences: Alertmanager, http: httpx.AsyncClient
) -> None:
    """One whose instant is to come, and one whose instant is over, which begins when it is set."""
    to_come, over = wanted(now() + HOUR), wanted(now() - HOUR, vm="web", deletion="e" * 32)
    ids = [await silences.set(one) for one in (to_come, over)]
    again = Alertmanager(server.url)
    assert [await again.set(one) for one in (to_come, over)] == ids
    await again.close()
    assert await listed(http) == dict(zip(ids, ("pending", "active"), strict=True))


async def test_who_is_killed_before_the_answer_finds_the_silence_again(
    server: lab.Alertmanager, silences: Alertmanager, http: httpx.AsyncClient
) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The server is asked and its answer to what changes something is lost."""
        asked = await reader.readuntil(b"\r\n\r\n")
        there, back = await asyncio.open_connection(LOOPBACK, server.port)
        back.write(asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        if asked.startswith(b"POST"):
            length = next(
                int(line.split(b":")[1]) for line in asked.lower().split(b"\r\n") if b"-length" in line
            )
            back.write(await reader.readexactly(length))
        answer = await there.read()
        if not asked.startswith(b"POST"):
            writer.write(answer)
            await writer.drain()
        back.close()

    one = wanted(now() + HOUR)
    async with speaking(cut) as deaf:
        with pytest.raises(SilenceError) as caught:
            await deaf.set(one)
    assert (caught.value.code, caught.value.lost, caught.value.final) == ("Silence", True, False)
    assert list((await listed(http)).values()) == ["pending"], "it was set, and nobody heard of it"
    found = await silences.set(one)
    assert await listed(http) == {found: "pending"}


async def test_a_silence_that_says_otherwise_is_changed_and_is_the_same_one_while_the_server_lets_it(
    silences: Alertmanager, http: httpx.AsyncClient
) -> None:
    first = wanted(now() + HOUR)
    ours = await silences.set(first)
    later = wanted(first.starts_at + HOUR)
    assert await silences.set(later) == ours
    [found] = await silences.find("acme", "db", "d" * 32)
    assert abs(found.starts_at - later.starts_at) < SECOND
    assert abs(found.ends_at - later.ends_at) < SECOND

    await silences.set(dataclasses.replace(later, comment="x", created_by="y"))
    assert await listed(http) == {ours: "pending"}

    started = wanted(now() - HOUR)
    other = await silences.set(started)
    assert other != ours, (
        "what is to begin may not begin in the past: the server makes another one, and ends this"
    )
    assert await listed(http) == {ours: "expired", other: "active"}
    longer = dataclasses.replace(started, ends_at=started.ends_at + HOUR)
    assert await silences.set(longer) == other
    [found] = await silences.find("acme", "db", "d" * 32)
    assert abs(found.ends_at - longer.ends_at) < SECOND

    put_off = await silences.set(first)
    assert (await listed(http))[other] == "expired", (
        "what began does not begin later: the server makes another one"
    )
    assert [one.id for one in await silences.find("acme", "db", "d" * 32)] == [put_off]


async def test_each_deletion_has_its_own_and_nobody_elses_is_touched(
    silences: Alertmanager, http: httpx.AsyncClient
) -> None:
    by_hand = await silence(http, now(), org="acme", vm="db", comment=f"not ours (deletion {'c' * 32})")
    foreign = await silence(http, now(), org="acme", vm="db")
    first = await silences.set(wanted(now() + HOUR))
    second = await silences.set(wanted(now() + HOUR, deletion="e" * 32))
    assert await silences.find("acme", "web", "d" * 32) == ()
    await silences.end(first)
    assert await silences.find("acme", "db", "d" * 32) == ()
    assert [one.id for one in await silences.find("acme", "db", "e" * 32)] == [second]
    third = await silences.set(wanted(now() + HOUR))
    assert await listed(http) == {
        by_hand: "active",
        foreign: "active",
        first: "expired",
        second: "pending",
        third: "pending",
    }


async def test_what_landed_late_or_was_changed_by_hand_is_one_silence_again(
    silences: Alertmanager, http: httpx.AsyncClient
) -> None:
    late = [
        await silence(
            http, now() + HOUR, org="acme", vm="db", severity="page", comment=f"x (deletion {'d' * 32})"
        )
        for _ in range(3)
    ]
    assert [one.id for one in await silences.find("acme", "db", "d" * 32)] == sorted(late)
    kept = await silences.set(wanted(now() - HOUR))
    assert {one for one, state in (await listed(http)).items() if state != "expired"} == {kept}
    assert kept not in late, "other matchers are another silence to the server"
    await alert(http, org="acme", vm="db")
    assert await states(http) == {"acme/db": "suppressed"}


async def test_what_an_alertmanager_forgot_is_set_anew_and_ends_without_complaint(
    server: lab.Alertmanager, silences: Alertmanager, http: httpx.AsyncClient
) -> None:
    former = await silences.set(wanted(now() - HOUR))
    await server.part.kill()
    with pytest.raises(SilenceError) as caught:
        await silences.find("acme", "db", "d" * 32)
    assert caught.value.lost
    await server.part.start()
    assert await silences.find("acme", "db", "d" * 32) == ()
    await silences.end(former)
    anew = await silences.set(wanted(now() - HOUR))
    assert await listed(http) == {anew: "active"}


async def test_a_silence_whose_end_is_over_is_refused_for_good_in_the_servers_words(
    silences: Alertmanager,
) -> None:
    with pytest.raises(SilenceError, match=r"answered 400: .*end time can't be in the past") as caught:
        await silences.set(wanted(now() - 40 * 24 * HOUR))
    assert (caught.value.lost, caught.value.final) == (False, True)
    with pytest.raises(SilenceError, match="silenceID in path must be of type uuid") as caught:
        await silences.end("hello")
    assert caught.value.final
