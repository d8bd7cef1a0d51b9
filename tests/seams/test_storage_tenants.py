"""Orgs are kept apart in a real Ceph: what another org's client may not do, is tried by one."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import libvirt
import pytest

from lab.ceph import Ceph
from schemas.volume import ClusterSource
from services.storage.ceph.cluster import Cluster
from services.storage.ceph.speaker import PYTHON, Speaker
from services.storage.ceph.tenants import Tenants
from services.storage.errors import StorageError
from services.storage.volumes import InUseError, MissingError
from tests.seams.stores import MIB, ORG, OTHER, QUOTA_BYTES, TEMPLATE, Bench
from tests.support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLIENT = Path(__file__).with_name("ceph_tenant.py")
SECONDS = 30


class Client:
    """A client of its own process, under one user."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def heard(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(SECONDS):
            return (await self._process.stdout.readline()).decode().strip()

    async def tries(self, what: str, **arguments: object) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([what, arguments]).encode() + b"\n")
        return await self.heard()


@asynccontextmanager
async def client_of(ceph: Ceph, user: str, key: str) -> AsyncGenerator[Client]:
    process = await asyncio.create_subprocess_exec(
        *(PYTHON, "-I", str(CLIENT), str(ceph.conf), f"client.{user}", key),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield Client(process)
    finally:
        process.kill()
        await process.wait()


async def key_of(ceph: Ceph, org: str) -> str:
    return (await ceph.command(prefix="auth get-key", entity=f"client.org-{org}"))["key"]


async def test_an_org_reaches_its_own_pool_and_the_templates_and_nothing_else(
    ceph: Ceph, both: dict[str, Bench]
) -> None:
    bench = both["rbd"]
    theirs, ours = bench.volume(OTHER), bench.volume()
    await bench.store.create(theirs, 32 * MIB, TEMPLATE)
    await bench.store.create(ours, 32 * MIB, TEMPLATE)
    async with client_of(ceph, f"org-{ORG}", await key_of(ceph, ORG)) as client:
        assert await client.heard() == "connected"

        for what, arguments in (
            ("image", {"pool": f"org-{ORG}", "name": "made-by-itself"}),
            ("look", {"pool": f"org-{ORG}", "name": ours.name}),
            ("scribble", {"pool": f"org-{ORG}", "name": ours.name}),
            ("write", {"pool": f"org-{ORG}"}),
            ("look", {"pool": "templates", "name": TEMPLATE}),
        ):
            assert await client.tries(what, **arguments) == "done", (what, arguments)

        for what, arguments in (
            ("read", {"pool": f"org-{OTHER}"}),
            ("write", {"pool": f"org-{OTHER}"}),
            ("look", {"pool": f"org-{OTHER}", "name": theirs.name}),
            ("scribble", {"pool": f"org-{OTHER}", "name": theirs.name}),
            ("image", {"pool": f"org-{OTHER}", "name": "planted"}),
            ("write", {"pool": "templates"}),
            ("scribble", {"pool": "templates", "name": TEMPLATE}),
            ("image", {"pool": "templates", "name": "planted"}),
            ("init", {"pool": f"org-{ORG}"}),
            ("command", _command("osd blocklist", blocklistop="add", addr="127.0.0.1:0/0")),
            ("command", _command("osd pool create", pool="mine")),
            ("command", _command("osd pool set-quota", pool=f"org-{ORG}", field="max_bytes", val="0")),
            ("command", _command("auth get-key", entity=f"client.org-{OTHER}")),
            ("command", _command("auth caps", entity=f"client.org-{ORG}", caps=["mon", "allow *"])),
            ("command", _command("config set", who="global", name="debug_ms", value="1")),
        ):
            assert await client.tries(what, **arguments) == "denied", (what, arguments)
    assert bench.reads(theirs, "T")


async def test_a_domain_with_one_orgs_key_gets_no_other_orgs_volume(both: dict[str, Bench]) -> None:
    bench = both["rbd"]
    theirs, ours = bench.volume(OTHER), bench.volume()
    for volume in (theirs, ours):
        await bench.store.create(volume, 32 * MIB, TEMPLATE)
    source, aim = await bench.store.source(ours), await bench.store.source(theirs)
    assert isinstance(source, ClusterSource)
    assert isinstance(aim, ClusterSource)
    with (
        pytest.raises(libvirt.libvirtError, match="Operation not permitted"),
        bench.asleep(replace(source, image=aim.image)),
    ):
        pass


async def test_a_revoked_org_gets_no_new_client_and_the_one_it_has_is_cut_off(ceph: Ceph) -> None:
    tenants = Tenants(Cluster(ceph.conf))
    try:
        await tenants.enrol("gamma", QUOTA_BYTES)
        key = await key_of(ceph, "gamma")
        async with client_of(ceph, "org-gamma", key) as client:
            assert await client.heard() == "connected"
            assert await client.tries("open", pool="org-gamma") == "done"
            assert await client.tries("again") == "done"
            for blocked in (await tenants.revoke("gamma"), await tenants.revoke("gamma")):
                assert len(blocked) == 1

            async def cut() -> bool:
                return await client.tries("again") != "done"

            await eventually(cut, why="the monitors tell the disks of a blocked address within moments")
        async with client_of(ceph, "org-gamma", key) as client:
            assert await client.heard() in {"denied", "ObjectNotFound"}
        # The same org may come back, with another key.
        await tenants.enrol("gamma", QUOTA_BYTES)
        assert await key_of(ceph, "gamma") != key
        async with client_of(ceph, "org-gamma", await key_of(ceph, "gamma")) as client:
            assert await client.heard() == "connected"
            assert await client.tries("write", pool="org-gamma") == "done"
    finally:
        await tenants.close()


async def test_enrolling_again_changes_the_quota_and_keeps_the_key(ceph: Ceph) -> None:
    tenants = Tenants(Cluster(ceph.conf))
    try:
        await tenants.enrol("delta", QUOTA_BYTES)
        key = await key_of(ceph, "delta")
        await tenants.enrol("delta", 2 * QUOTA_BYTES)
        assert await key_of(ceph, "delta") == key
        known = (await ceph.command(prefix="osd dump"))["pools"]
        [pool] = [one for one in known if one["pool_name"] == "org-delta"]
        assert (pool["quota_max_bytes"], pool["size"], pool["min_size"]) == (2 * QUOTA_BYTES, 3, 2)
    finally:
        await tenants.close()


@pytest.mark.long
async def test_after_a_crash_the_volume_is_released_and_its_org_writes_it_again(
    ceph: Ceph, both: dict[str, Bench]
) -> None:
    bench = both["rbd"]
    volume = bench.volume()
    await bench.store.create(volume, 32 * MIB, TEMPLATE)
    key, image = await key_of(ceph, ORG), {"pool": f"org-{ORG}", "name": volume.name}
    async with client_of(ceph, f"org-{ORG}", key) as client:
        assert await client.heard() == "connected"
        assert await client.tries("hold", **image) == "done"
        with pytest.raises(InUseError):
            await bench.store.release(volume)

    async def released() -> bool:
        try:
            await bench.store.release(volume)
        except InUseError:
            return False
        return True

    async with client_of(ceph, f"org-{ORG}", key) as client:
        assert await client.heard() == "connected"
        await eventually(released, SECONDS, every_seconds=0.2, why="Ceph waits for the one who died")
        assert await client.tries("scribble", **image) == "done"


async def test_an_org_that_was_never_enrolled_is_told_so(both: dict[str, Bench]) -> None:
    with pytest.raises(MissingError, match="enrol it first"):
        await both["rbd"].store.create(both["rbd"].volume("nobody"), MIB)


async def test_a_call_that_is_not_answered_ends_and_the_next_one_is(ceph: Ceph) -> None:
    speaker = Speaker(ceph.conf)
    try:
        assert speaker.ask("fsid", SECONDS) == ceph.fsid
        pid = speaker.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(StorageError, match=r"within 0\.3 s") as caught:
            speaker.ask("fsid", 0.3)
        assert caught.value.lost
        assert not Path(f"/proc/{pid}").exists()
        assert speaker.ask("fsid", SECONDS) == ceph.fsid
    finally:
        speaker.close()


async def test_a_cluster_that_nobody_can_reach_is_said_to_be_lost(ceph: Ceph, tmp_path: Path) -> None:
    conf = tmp_path / "ceph.conf"
    conf.write_text(ceph.conf.read_text().replace("keyring = ", "keyring = /nowhere"))
    speaker = Speaker(conf)
    try:
        with pytest.raises(StorageError, match="was not reached") as caught:
            speaker.ask("fsid", SECONDS)
        assert caught.value.lost
    finally:
        speaker.close()


@pytest.mark.long
async def test_volumes_live_on_when_a_zone_is_lost(ceph: Ceph, both: dict[str, Bench]) -> None:
    bench = both["rbd"]
    volume = bench.volume()
    await bench.store.create(volume, 32 * MIB, TEMPLATE)
    await ceph.disks[2].kill()
    try:
        bench.write(volume, "A", MIB)
        await bench.store.snapshot(volume, "one")
        assert await bench.store.grow(volume, 64 * MIB) == 64 * MIB
        assert bench.reads(volume, "A", MIB)
    finally:
        await ceph.disks[2].stop()
        await ceph.disks[2].start()
    await eventually(ceph.healthy, 60, every_seconds=0.2)
    assert bench.reads(volume, "A", MIB)


def _command(prefix: str, **arguments: object) -> dict[str, object]:
    return {"prefix": prefix, **arguments}
