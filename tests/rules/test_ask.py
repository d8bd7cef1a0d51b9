"""What a command says of its request, on a bus in memory."""

import asyncio
import datetime as dt

import pytest

from events.bus.permissions import reader
from events.gate import GateDecided, WakeOrdered
from events.ids import derive
from events.scale import ScaleRequested
from events.vm import VmAnnounced, VmReady, VmResumed
from schemas.capacity import Size
from schemas.intake import Receipt
from tests.rules.desk import REF, Desk, answer, play
from virtscale.ask import _report, _Trip, _until_settled

REQUEST = derive("request")
ORDER = derive("order")
SERVING = frozenset({"serving", "failed"})


def test_a_vm_that_serves_before_its_waker_has_spoken_is_waited_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def scene() -> None:
        desk = Desk()
        now = desk.clock.now()
        asked = desk.write(
            ScaleRequested(
                org="acme",
                pool="web",
                publisher="operator",
                key="k",
                origin="person",
                add=1,
                want=None,
                up_to=False,
                received_at=now,
                sample=None,
            ),
            id=REQUEST,
        )
        order = WakeOrdered(
            id=ORDER,
            vm="web-1",
            pool="web",
            host="h1",
            size=Size("small", 1, 512),
            request=REQUEST,
            purpose="serve",
            begin_by=now + dt.timedelta(seconds=60),
            ready_seconds=20,
        )
        desk.write(
            GateDecided(
                org="acme",
                gate="g1",
                through=asked.seq,
                follows=0,
                state_seq=asked.seq,
                now=now,
                contract=REF,
                rules="test",
                answers=(answer(REQUEST, asked.seq, "admitted", "Granted"),),
                orders=(order,),
            )
        )
        trip = _Trip(REQUEST)
        following = asyncio.create_task(
            _until_settled(desk.connect(reader("eye")), Receipt(REQUEST, asked.seq), trip, SERVING)
        )
        desk.write(
            VmReady(
                org="acme",
                vm="web-1",
                reservation=ORDER,
                boot_id="b",
                rebooted=False,
                clock_offset_ms=None,
                probe_started_at=now,
                answered_at=now,
                probes=1,
            )
        )
        desk.write(
            VmAnnounced(
                org="acme",
                vm="web-1",
                pool="web",
                reservation=ORDER,
                order=ORDER,
                backend="be_acme_web",
                address="127.0.0.1:1",
                announced_at=now,
            )
        )
        done, _ = await asyncio.wait({following}, timeout=30)
        assert not done
        assert [activation.stage for activation in trip.activations] == ["serving"]

        desk.write(
            VmResumed(
                org="acme",
                vm="web-1",
                host="h1",
                reservation=ORDER,
                started_at=now,
                resumed_at=now,
                attempts=1,
            )
        )
        await asyncio.wait_for(following, 30)
        assert _report(trip, "table") == 0

    play(scene)
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[:4] == ["web-1", "resume", "serving", "-"]
    assert "-" not in row[4:]
