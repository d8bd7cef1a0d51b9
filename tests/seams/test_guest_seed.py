"""A customer's own image: its seed disk is laid on a real host, a real guest reads it, and its serial line is at a terminal."""

import asyncio
import fcntl
import hashlib
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import libvirt
import pytest
import pytest_asyncio

from lab import accelerator, guest, hypervisor, template
from lab.ports import LOOPBACK
from schemas.capacity import Size
from schemas.house import HostPlace
from schemas.image import image_of
from schemas.seed import Seed
from schemas.template import has_seed
from schemas.volume import seed_name
from services.storage.files import seed as seeds
from services.waker.libvirt.hypervisor import Libvirt
from services.waker.libvirt.templates import TemplateMissingError
from services.waker.port import Definition, domain_name
from tests.support import eventually, free_port

in_one_loop = pytest.mark.asyncio(loop_scope="module")

BOOT_SECONDS = 60
MINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIQt3sYZ6f7WJverVzXLjHX1iEvfTAxwI2i8uvCvmYTi me@home"
OURS = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIQt3sYZ6f7WJverVzXLjHX1iEvfTAxwI2i8uvCvmYTi "us" \\ at work'
USER_DATA = f"""#cloud-config
hostname: told-by-user
ssh_authorized_keys:
  - {OURS}
packages: [vim]
write_files:
  - path: /www/hello
    permissions: '0644'
    content: |
      hello "world"
        indented

      end
  - content: 'it''s one line'
    path: /srv/deep/one
runcmd:
- echo run > /www/ran
- |
  cat /srv/deep/one >> /www/ran
  exit 3
""".encode()
SEED = Seed("i-0001", "told-by-us", (MINE,), USER_DATA)
CONSOLE = """
import sys
from virtscale.vms.console import Terminal, attach
print(attach(sys.argv[1], "vs-acme.web-1", Terminal(), force=len(sys.argv) > 2, ready=lambda: print("open", flush=True)))
"""


@dataclass(frozen=True)
class World:
    machine: hypervisor.Hypervisor
    waker: Libvirt
    pool: libvirt.virStoragePool
    directory: Path
    port: int

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(timeout=5) as client:
            return await client.get(f"http://{LOOPBACK}:{self.port}{path}")

    async def told(self, ends: int | None = 3) -> dict[str, Any] | None:
        """What the guest says of its seed, once all that the seed wants is done and ended so."""
        try:
            said = (await self.get("/cgi-bin/info")).json()["seed"]
        except httpx.TransportError:
            return None
        return said if said["exit"] == ends else None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    """One guest with a disk of its own and a seed disk, for all tests of this file."""
    directory = Path(tempfile.mkdtemp(prefix="vs-", dir="/tmp"))
    machine = hypervisor.Hypervisor(directory)
    try:
        image = await guest.build(guest.cache_directory())
        verdict = await accelerator.probe(image)
        await machine.start()
        tiny = directory / "templates" / "tiny"
        written = template.write(
            tiny, image, verdict.accelerator, directory / "console", disk_mib=64, seeded=True
        )
        with libvirt.open(machine.uri) as connection:
            pool = _pool(connection, machine.volumes)
            own = machine.volumes / "own.qcow2"
            shutil.copyfile(written.disk, own)
            hypervisor.own(own).chmod(0o600)
            place = HostPlace("h1", machine.uri, verdict.accelerator, 1024, free_port())
            waker = Libvirt(place, tiny.parent)
            await waker.connect()
            with pytest.raises(TemplateMissingError, match="nobody said who it is"):
                await _boot(waker, "web-1", "tiny", str(own))
            await asyncio.to_thread(seeds.lay, pool, "acme", "web-1", SEED)
            port = await _boot(waker, "web-1", "tiny", str(own))
            yield World(machine, waker, pool, directory, port)
            await waker.close()
        await machine.destroy_domains()
    finally:
        await machine.stop()
        shutil.rmtree(directory)


def _pool(connection: libvirt.virConnect, volumes: Path) -> libvirt.virStoragePool:
    pool = connection.storagePoolDefineXML(
        f"<pool type='dir'><name>virtscale</name><target><path>{volumes}</path></target></pool>"
    )
    pool.build()
    pool.create()
    return pool


async def _boot(waker: Libvirt, vm: str, template: str, disk: str | None) -> int:
    """The guest boots, defined as for any VM; the port of its page."""
    size = Size("vs.tiny", 1, 96)
    defined = await waker.define(Definition("acme", "web", vm, size, template, disk))
    await waker.start(defined.name)
    return int(defined.address.rpartition(":")[2])


@in_one_loop
async def test_a_guest_reads_who_it_is_and_what_to_do_from_its_seed_disk(world: World) -> None:
    said = await eventually(world.told, BOOT_SECONDS, every_seconds=0.1)
    assert said == {
        "instance_id": "i-0001",
        "hostname": "told-by-user",
        "kind": "cloud-config",
        "user_data_sha256": hashlib.sha256(USER_DATA).hexdigest(),
        "keys": [MINE, OURS],
        "unread": ["packages"],
        "exit": 3,
    }
    assert (await world.get("/")).text == "told-by-user\n"
    assert (await world.get("/hello")).text == 'hello "world"\n  indented\n\nend\n'
    assert (await world.get("/ran")).text == "run\nit's one line"


@in_one_loop
async def test_a_seed_disk_is_not_taken_for_the_disk_that_a_guest_writes_to(world: World) -> None:
    await eventually(world.told, BOOT_SECONDS, every_seconds=0.1)
    async with httpx.AsyncClient(timeout=10) as client:
        answer = await client.post(f"http://{LOOPBACK}:{world.port}/cgi-bin/disk?file", content="kept")
    assert answer.raise_for_status().text == "written\n"
    assert (await world.get("/cgi-bin/disk?file")).text == "kept"
    laid = world.machine.volumes / seed_name("acme", "web-1")
    assert laid.read_bytes() == seeds.disk(SEED)


@pytest.mark.long
@in_one_loop
@pytest.mark.parametrize(
    ("user_data", "kind", "ends"),
    [
        (b"#!/bin/sh\necho $0 > /www/ran\nexit 7\n", "script", 7),
        (b"#include\nhttp://localhost/\n", "unknown", None),
        (b"", "none", None),
    ],
)
async def test_a_guest_without_another_disk_runs_a_script_and_leaves_alone_what_it_does_not_know(
    world: World, user_data: bytes, kind: str, ends: int | None
) -> None:
    image = await guest.build(guest.cache_directory())
    verdict = await accelerator.probe(image)
    bare = world.directory / "templates" / "bare"
    template.write(bare, image, verdict.accelerator, world.directory / "console", seeded=True)
    await asyncio.to_thread(seeds.lay, world.pool, "acme", "web-3", Seed("i-3", "web-3", (), user_data))
    port = await _boot(world.waker, "web-3", "bare", None)
    other = World(world.machine, world.waker, world.pool, world.directory, port)
    try:
        said = await eventually(lambda: other.told(ends), BOOT_SECONDS, every_seconds=0.1)
        assert said is not None
        assert (said["hostname"], said["kind"], said["exit"], said["keys"]) == ("web-3", kind, ends, [])
        assert (await other.get("/ran")).is_success == (kind == "script")
        assert (await other.get("/cgi-bin/disk?file")).text == "this guest has no disk\n"
    finally:
        await world.waker.stop(domain_name("acme", "web-3"))


@in_one_loop
async def test_the_template_says_what_its_image_is(world: World) -> None:
    tiny = world.directory / "templates" / "tiny"
    assert image_of(tiny).kind == "cloud-init"
    assert has_seed(tiny)


# ------------------------------------------------------------------------------------------------------------- laying


@in_one_loop
async def test_a_seed_disk_is_whole_and_the_guests_user_s_alone_and_is_laid_once(world: World) -> None:
    path = Path(seeds.lay(world.pool, "acme", "web-2", SEED))
    found = path.stat()
    assert path.read_bytes() == seeds.disk(SEED)
    assert found.st_mode & 0o777 == 0o600
    assert found.st_uid == world.machine.volumes.stat().st_uid
    assert seeds.lay(world.pool, "acme", "web-2", SEED) == str(path)
    assert path.stat().st_ino == found.st_ino


@in_one_loop
@pytest.mark.parametrize("left", [b"", seeds.disk(SEED)[:30_000].ljust(55_296, b"\0"), bytes(2 << 20)])
async def test_what_a_life_that_died_on_the_way_left_of_a_seed_disk_is_laid_anew(
    world: World, left: bytes
) -> None:
    path = Path(seeds.lay(world.pool, "acme", "web-2", SEED))
    path.write_bytes(left)
    assert seeds.lay(world.pool, "acme", "web-2", SEED) == str(path)
    assert path.read_bytes() == seeds.disk(SEED)


@in_one_loop
async def test_another_seed_takes_the_place_of_the_former_one(world: World) -> None:
    other = Seed("i-0002", "other")
    seeds.lay(world.pool, "acme", "web-2", SEED)
    assert Path(seeds.lay(world.pool, "acme", "web-2", other)).read_bytes() == seeds.disk(other)


# ------------------------------------------------------------------------------------------------------------ console


@dataclass
class Person:
    """Somebody at a terminal with a console in it, and all that they saw."""

    keyboard: int
    process: subprocess.Popen[bytes]
    before: list[Any]
    seen: bytes = field(default=b"")

    def type(self, text: bytes) -> None:
        os.write(self.keyboard, text)

    def sees(self, text: bytes) -> bool:
        try:
            while chunk := os.read(self.keyboard, 4096):
                self.seen += chunk
        except BlockingIOError:
            pass
        return text in self.seen

    def gone(self) -> bool:
        self.sees(b"")
        return self.process.poll() is not None

    @property
    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.keyboard) == self.before


@contextmanager
def _person(uri: str, *force: str) -> Generator[Person]:
    keyboard, terminal = pty.openpty()
    before = termios.tcgetattr(keyboard)
    fcntl.fcntl(keyboard, fcntl.F_SETFL, os.O_NONBLOCK)
    process = subprocess.Popen(
        [sys.executable, "-c", CONSOLE, uri, *force], stdin=terminal, stdout=terminal, stderr=terminal
    )
    try:
        yield Person(keyboard, process, before)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(10)
        os.close(keyboard)
        os.close(terminal)


async def _at_the_prompt(person: Person) -> None:
    await eventually(lambda: person.sees(b"open"), 20)
    person.type(b"\r")
    await eventually(lambda: person.sees(b"# "), 20)


@in_one_loop
async def test_a_person_types_at_a_vm_s_console_leaves_it_and_finds_their_terminal_as_it_was(
    world: World,
) -> None:
    await eventually(world.told, BOOT_SECONDS, every_seconds=0.1)
    with _person(world.machine.uri) as person:
        await _at_the_prompt(person)
        person.type(b"echo $((6 * 7))-$(hostname)\r")
        await eventually(lambda: person.sees(b"42-told-by-user"), 20)
        # The shell takes Ctrl-C for a letter until the command has begun.
        person.type(b"echo $((7 * 7)); sleep 1000\r")
        await eventually(lambda: person.sees(b"\r\n49\r\n"), 20)
        person.type(b"\x03echo interrupted $?\r")
        await eventually(lambda: person.sees(b"interrupted 130"), 20)
        assert not person.is_as_before
        person.type(b"\x1d")
        await eventually(person.gone, 20)
        assert person.sees(b"left")
        assert person.is_as_before
    log = (world.directory / "console" / "vs-acme.web-1.log").read_bytes()
    assert b"READY told-by-user" in log
    assert b"42-told-by-user" in log


@pytest.mark.long
@in_one_loop
async def test_a_file_can_be_typed_at_a_console_and_what_it_says_be_kept(world: World) -> None:
    await eventually(world.told, BOOT_SECONDS, every_seconds=0.1)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CONSOLE, world.machine.uri),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    async with asyncio.timeout(30):
        process.stdin.write(b"\n\necho $((8 * 8))\n")
        await process.stdout.readuntil(b"64")
        process.stdin.close()
        assert (await process.stdout.read()).endswith(b"left\n")
        assert await process.wait() == 0


@in_one_loop
async def test_a_console_is_one_person_s_until_another_takes_it_over(world: World) -> None:
    with _person(world.machine.uri) as first:
        await eventually(lambda: first.sees(b"open"), 20)
        with _person(world.machine.uri) as second:
            await eventually(second.gone, 20)
            assert b"Somebody else is at the line of vs-acme.web-1" in second.seen
        with _person(world.machine.uri, "force") as third:
            await eventually(lambda: third.sees(b"open"), 20)
            await eventually(first.gone, 20)
            assert first.sees(b"closed")
            assert first.is_as_before


@in_one_loop
async def test_the_console_of_a_vm_that_is_switched_off_ends_and_one_that_is_off_has_none(
    world: World,
) -> None:
    with _person(world.machine.uri) as person:
        await eventually(lambda: person.sees(b"open"), 20)
        await world.waker.stop(domain_name("acme", "web-1"))
        await eventually(person.gone, 20)
        assert person.sees(b"closed")
        assert person.is_as_before
    with _person(world.machine.uri) as person:
        await eventually(person.gone, 20)
        assert b"vs-acme.web-1 does not run" in person.seen
