"""A Ceph of three zones on one machine: a monitor, a manager, and a disk in a sparse file for each zone.

Everything is a child of ours, on loopback, below one private directory, and gone with us. What is written outlives a
killed disk, not the cluster: it is made anew each time.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from lab.errors import LabError
from lab.part import OnChange, Part, Plan, Probe, find_program
from lab.ports import LOOPBACK, free_ports

MEND = "apt-get install -y --no-install-recommends ceph-mon ceph-mgr ceph-osd ceph-common python3-rados python3-rbd"
PYTHON = "/usr/bin/python3"
"""Debian's own: the only one its binding of Ceph is made for."""
SPEAKER = Path(__file__).with_name("ceph_speaker.py")
ZONES = ("a", "b", "c")
RULE = "zones"
DISK_BYTES = 6 << 30
"""Of each zone, in a sparse file: what is not written takes no room."""
WATCH_SECONDS = 10
"""How long an image is held for whoever died with it open; Ceph's own is 30. Who lives says so every 5 s."""
SOCKET_PATH_BYTES = 107
"""108 in sockaddr_un, with the closing zero. Without their sockets the monitors do not tell who speaks to them."""
HEALTHY_SECONDS = 60.0
STEP_SECONDS = 30.0
POLL_SECONDS = 0.05

# paxos_*: Ceph gathers changes for a second before it agrees on them; with these a snapshot takes 23 ms, not 1007
# (measured).
SETTINGS = """\
[global]
fsid = {fsid}
mon_initial_members = a
mon_host = [v2:{host}:{first},v1:{host}:{second}]
public_network = 127.0.0.0/8
public_addr = {host}
cluster_addr = {host}
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
keyring = {here}/keyring.$name
admin_socket = {here}/run/$name.asok
run_dir = {here}/run
log_file = {here}/log/$name.log
mon_cluster_log_file = {here}/log/cluster.log
crash_dir = {here}/crash
osd_pool_default_size = 3
osd_pool_default_min_size = 2
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_delete = true
paxos_propose_interval = 0.02
paxos_min_wait = 0.01
mon_tick_interval = 1
mon_max_pg_per_osd = 1000
mon_data_avail_warn = 2
mon_data_avail_crit = 1
[client]
log_file =
admin_socket =
rbd_default_features = 61
[mon.a]
mon_data = {here}/mon.a
[mgr]
mgr_data = {here}/mgr.x
mgr_initial_modules =
mgr_tick_period = 1
mgr_stats_period = 2
[osd]
osd_data = {here}/osd.$id
osd_objectstore = bluestore
osd_memory_target = 939524096
osd_memory_target_autotune = false
bluestore_cache_autotune = false
bluestore_cache_size = 67108864
bluestore_block_size = {disk_bytes}
bluestore_block_db_create = false
bluestore_block_wal_create = false
bluestore_fsck_on_mount = false
osd_op_num_shards = 2
osd_op_num_threads_per_shard = 1
osd_client_watch_timeout = {watch_seconds}
osd_heartbeat_interval = 1
osd_heartbeat_grace = 6
osd_scrub_load_threshold = 2000
mon_osd_down_out_interval = 600
"""
PLACE = """\
[osd.{number}]
crush_location = root=default zone={zone} host=node-{zone}
"""


class Ceph:
    """One cluster: size 3, at least 2, a copy in each zone. `start` takes some six seconds, once per directory.

    The directory holds the administrator's key, so only our user may enter it.
    """

    def __init__(self, directory: Path, *, on_change: OnChange | None = None) -> None:
        self.directory = directory
        self.conf = directory / "ceph.conf"
        self.fsid = str(uuid.uuid4())
        self.monitor = ""
        """Where the monitor answers, as host:port; known once started."""
        self._second = 0
        self._on_change = on_change
        self._speaker: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._monitor: Part | None = None
        self._manager: Part | None = None
        self.disks: tuple[Part, ...] = ()
        """One per zone; `kill` one, and its zone is lost until it is started."""

    async def start(self) -> None:
        """The cluster is healthy: three disks are up, and new pools have a copy in each zone."""
        require_programs()
        keys = self._prepare()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._start_monitor())
                for number in range(len(ZONES)):
                    tasks.create_task(self._make_disk(number))
            manager = self._part("ceph-mgr", "x", self._alive)
            self._manager = manager
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(manager.start())
                tasks.create_task(self._start_disks(keys))
            await self._until(self.healthy)
        except BaseException as error:
            await self.stop()
            raise _first(error) from error

    async def stop(self) -> None:
        """Every process of the cluster is gone; its directory is the caller's to remove."""
        speaker, self._speaker = self._speaker, None
        if speaker is not None:
            with suppress(ProcessLookupError):
                speaker.kill()
            await speaker.wait()
        parts = [part for part in (*self.disks, self._manager, self._monitor) if part is not None]
        # In order it would take ten seconds, for what is thrown away.
        await asyncio.gather(*(part.kill() for part in parts))
        await asyncio.gather(*(part.stop() for part in parts))

    async def command(self, *, text: str = "", **arguments: Any) -> Any:
        """The answer of the monitor to an administrator's command: `await ceph.command(prefix="osd tree")`.

        Raises `lab.ceph-refused`.
        """
        asked = json.dumps({"command": arguments, "input": text}).encode() + b"\n"
        async with self._turn:
            speaker = self._speaker
            if speaker is None or speaker.stdin is None or speaker.stdout is None:
                speaker = self._speaker = await asyncio.create_subprocess_exec(
                    *(PYTHON, "-I", str(SPEAKER), str(self.conf)),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    start_new_session=True,
                )
            assert speaker.stdin is not None
            assert speaker.stdout is not None
            speaker.stdin.write(asked)
            async with asyncio.timeout(STEP_SECONDS):
                line = await speaker.stdout.readline()
        if not line:
            raise LabError(
                "lab.ceph-refused",
                f"Ceph's monitor at {self.monitor} was not reached; see {self.directory}/log.",
            )
        said = json.loads(line)
        if said["code"] != 0:
            raise LabError("lab.ceph-refused", f"Ceph refused {arguments.get('prefix')}: {said['text']}.")
        return said["answer"]

    async def healthy(self) -> bool:
        """Whether every copy of everything is where it belongs."""
        health = await self.command(prefix="health")
        return bool(health["status"] == "HEALTH_OK")

    # --------------------------------------------------------------------------------------------------- the parts

    def _prepare(self) -> dict[str, tuple[str, dict[str, str]]]:
        """The directory is laid out; gives each part's key and rights."""
        here = self.directory
        longest = os.fsencode(here / "run" / "osd.0.asok")
        if len(longest) > SOCKET_PATH_BYTES:
            raise LabError(
                "lab.path-too-long",
                f"Ceph's directory {here} makes socket paths of {len(longest)} bytes; {SOCKET_PATH_BYTES} are allowed. Choose a "
                "shorter one.",
            )
        here.mkdir(parents=True, exist_ok=True)
        here.chmod(0o700)
        for name in ("run", "log", "crash", "mon.a", "mgr.x", *(f"osd.{n}" for n in range(len(ZONES)))):
            (here / name).mkdir()
        first, self._second = free_ports(2)
        self.monitor = f"{LOOPBACK}:{first}"
        text = SETTINGS.format(
            fsid=self.fsid,
            host=LOOPBACK,
            first=first,
            second=self._second,
            here=here,
            disk_bytes=DISK_BYTES,
            watch_seconds=WATCH_SECONDS,
        )
        text += "".join(PLACE.format(number=number, zone=zone) for number, zone in enumerate(ZONES))
        self.conf.write_text(text)
        everything = {"mon": "allow *", "osd": "allow *", "mgr": "allow *"}
        keys = {
            "mon.": (_key(), {"mon": "allow *"}),
            "client.admin": (_key(), everything),
            "mgr.x": (_key(), {"mon": "allow profile mgr", "osd": "allow *"}),
            **{
                f"osd.{number}": (
                    _key(),
                    {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"},
                )
                for number in range(len(ZONES))
            },
        }
        for name, (key, _) in keys.items():
            _write_secret(here / f"keyring.{name}", f"[{name}]\n\tkey = {key}\n")
        # The disks' keys come with `osd new`, which would refuse one that is known.
        first_keys = (_ring(name, *of) for name, of in keys.items() if not name.startswith("osd."))
        _write_secret(here / "mon.keyring", "".join(first_keys))
        return keys

    async def _start_monitor(self) -> None:
        here = self.directory
        addresses = f"[v2:{self.monitor},v1:{LOOPBACK}:{self._second}]"
        await _run("monmaptool", "--create", "--fsid", self.fsid, "--addv", "a", addresses, f"{here}/monmap")
        await _run(
            *("ceph-mon", "--conf", str(self.conf), "--mkfs", "-i", "a"),
            *("--monmap", f"{here}/monmap", "--keyring", f"{here}/mon.keyring"),
        )
        self._monitor = self._part("ceph-mon", "a", self._monitor_answers)
        await self._monitor.start()

    async def _make_disk(self, number: int) -> None:
        """The disk is formatted; needs no monitor."""
        identity = self._identity(number)
        await _run(
            "ceph-osd",
            "--conf",
            str(self.conf),
            "-i",
            str(number),
            "--mkfs",
            "--no-mon-config",
            "--osd-uuid",
            identity,
        )

    async def _start_disks(self, keys: Mapping[str, tuple[str, dict[str, str]]]) -> None:
        await self.command(
            prefix="config set",
            who="mgr",
            name="mgr/devicehealth/enable_monitoring",
            value="false",
            force=True,  # the manager that knows this name is not up yet; later it would have made a pool
        )
        for number in range(len(ZONES)):
            identity = self._identity(number)
            secret = json.dumps({"cephx_secret": keys[f"osd.{number}"][0]})
            await self.command(prefix="osd new", uuid=identity, id=number, text=secret)
        self.disks = tuple(self._part("ceph-osd", str(number), self._alive) for number in range(len(ZONES)))
        await asyncio.gather(*(disk.start() for disk in self.disks))
        await self._until(self._all_up)
        await self.command(prefix="osd crush rule create-replicated", name=RULE, root="default", type="zone")
        rule = await self.command(prefix="osd crush rule dump", name=RULE)
        await self.command(
            prefix="config set", who="global", name="osd_pool_default_crush_rule", value=str(rule["rule_id"])
        )

    def _identity(self, number: int) -> str:
        return str(uuid.uuid5(uuid.UUID(self.fsid), f"osd.{number}"))

    async def _all_up(self) -> bool:
        said = await self.command(prefix="osd stat")
        return bool(said["num_up_osds"] == len(ZONES))

    async def _until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        ends_at = time.monotonic() + HEALTHY_SECONDS
        while not await condition():
            if time.monotonic() > ends_at:
                said = await self.command(prefix="health")
                raise LabError(
                    "lab.part-not-ready",
                    f"Ceph was not healthy within {HEALTHY_SECONDS:g} s: {', '.join(said['checks']) or said['status']}; see "
                    f"{self.directory}/log.",
                )
            await asyncio.sleep(POLL_SECONDS)

    def _part(self, program: str, identity: str, ready: Probe) -> Part:
        plan = Plan(
            name=f"{program}.{identity}",
            argv=(program, "-f", "--conf", str(self.conf), "-i", identity),
            directory=self.directory / "log",
            ready=ready,
            mend=MEND,
            ready_seconds=STEP_SECONDS,
        )
        return Part(plan, self._on_change)

    async def _monitor_answers(self) -> bool:
        host, _, port = self.monitor.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        return True

    async def _alive(self) -> bool:
        """Started; whether it serves is what the monitor says."""
        return True


def require_programs() -> None:
    """Raise `lab.binary-missing` unless Ceph and its binding are here."""
    missing = [
        name for name in ("ceph-mon", "ceph-mgr", "ceph-osd", "monmaptool") if find_program(name) is None
    ]
    if missing:
        raise LabError("lab.binary-missing", f"Ceph needs {', '.join(missing)}; run `{MEND}`.")


def _first(error: BaseException) -> BaseException:
    """The first of several that went wrong side by side."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


def _key() -> str:
    """A secret in cephx's form: its kind (AES), when it was made, its length, itself."""
    return base64.b64encode(struct.pack("<hiih", 1, int(time.time()), 0, 16) + os.urandom(16)).decode()


def _ring(name: str, key: str, rights: Mapping[str, str]) -> str:
    lines = "".join(f'\tcaps {service} = "{right}"\n' for service, right in rights.items())
    return f"[{name}]\n\tkey = {key}\n{lines}"


def _write_secret(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(text)


async def _run(program: str, *arguments: str) -> None:
    found = find_program(program)
    if found is None:
        raise LabError("lab.binary-missing", f"Ceph needs {program}; run `{MEND}`.")
    process = await asyncio.create_subprocess_exec(
        found, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(STEP_SECONDS):
            said, _ = await process.communicate()
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        last = (said.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise LabError("lab.part-exited", f"{program} ended with exit code {process.returncode}: {last}")
