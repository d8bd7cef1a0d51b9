"""A small house is asked why, by the command itself: a request that was granted, one that was refused, and a pool."""

import asyncio
import datetime as dt
import json
import os
import sys
from contextlib import AsyncExitStack

from events.bus.pen import Pen
from events.clock import SystemClock
from events.host import HostRegistered
from events.ids import derive
from lab.part import find_program
from schemas.house import VARIABLE
from tests.seams.crew import ROOT, Crew
from tests.seams.house import a_client, a_world
from virtscale.world import World


async def told(world: World, *words: str) -> tuple[int, str, str]:
    """What `virtscale replay` says: exit code, standard output, standard error."""
    program = find_program("virtscale") or f"{sys.prefix}/bin/virtscale"
    process = await asyncio.create_subprocess_exec(
        program,
        "replay",
        *words,
        cwd=ROOT,
        env={**os.environ, VARIABLE: str(world.directory)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


async def a_roomy_host(stack: AsyncExitStack, world: World) -> None:
    """A host with room for all that the contract allows; nobody is there to start anything on it."""
    bus = await world.connect("waker-h1")
    stack.push_async_callback(bus.close)
    fact = HostRegistered(
        org="platform",
        host="h1",
        uri="test:///default",
        libvirt_version=1,
        substrate="test",
        vcpu=1000,
        memory_mib=1_000_000,
        observed_at=dt.datetime.now(dt.UTC),
    )
    name = derive("host.registered", "h1")
    await Pen(bus, "waker-h1", SystemClock()).record(fact, id=name, cause=None, correlation=name)


async def test_a_house_says_why_its_pool_grew_and_why_it_did_not() -> None:
    async with AsyncExitStack() as stack:
        world, _ = await stack.enter_async_context(a_world("test"))
        crew = Crew(world.directory)
        stack.push_async_callback(crew.stop)
        for worker in ("signal", "gate"):
            await crew.start(worker)
        client = await stack.enter_async_context(a_client(world))
        await client.until(lambda: ("acme", "web") in client.fleet.pools, 10.0, "no gate works")
        await world.enact(client.contracts)
        await a_roomy_host(stack, world)
        await client.until(lambda: bool(client.fleet.hosts), 5.0, "no host")
        granted, refused = await client.scale(2), await client.scale(500)
        for receipt in (granted, refused):
            request = receipt.id

            def is_answered(request: str = request) -> bool:
                known = client.trips.requests.get(request)
                return known is not None and known.answer is not None

            await client.until(is_answered, 10.0, "no answer")

        code, text, errors = await told(world, "why", granted.id[:12])
        assert (code, errors) == (0, "")
        first, answer, _, header, *rows = text.splitlines()
        assert first.endswith("by signal: a person as operator asked for 2 more VMs in acme/web")
        assert "Pool acme/web: 2 of 2 VMs granted. Projected: 2 of 110 vCPU" in answer
        assert header.split() == ["SEQ", "TIME", "WRITER", "EVENT", "WHAT"]
        assert [row.split()[-1] == "UTC" and "boot web-" in row for row in rows[2:]] == [True, True]

        code, text, _ = await told(
            world, "why", f"acme/web@{dt.datetime.now(dt.UTC).isoformat()}", "-o", "json"
        )
        assert code == 0
        then = json.loads(text)["then"]
        assert not then["grew"]["moved"]
        assert "would take acme to 502 vCPU (0 in use, 2 reserved, 500 requested)" in then["grew"]["because"]
        assert then["circumstances"]["vms"] == {"booting": 2}
        codes = {one["question"]: one["code"] for one in then["suppositions"]}
        assert codes["1 more VM, asked by a person"] == "Granted"

        code, text, _ = await told(world, "trace", refused.id)
        assert code == 0
        (span, *_) = json.loads(text)["resourceSpans"][0]["scopeSpans"][0]["spans"]
        assert (span["traceId"], span["status"]["code"]) == (refused.id, 2)

        code, text, errors = await told(world, "why", "0123456789abcdef")
        assert (code, text) == (5, "")
        assert errors == "virtscale: Nothing in the ledger has the id 0123456789abcdef. [IdUnknown]\n"
