"""What each call on a volume costs with either driver, beside the bare call below it, in turns in one run.

Bare is `qemu-img`, or a rename, on the same files, and Ceph's own binding in a process of its own with its connection open. Each
volume lies over a template and has --mib of data. The last line is JSON.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from events.clock import SystemClock
from lab.ceph import Ceph
from lab.hypervisor import Hypervisor
from schemas.house import HostPlace
from services.storage.ceph.cluster import Cluster
from services.storage.ceph.rbd import TEMPLATES, Rbd, pool_of
from services.storage.ceph.speaker import PYTHON
from services.storage.ceph.tenants import Tenants
from services.storage.files.directory import Directory
from services.storage.volumes import Store, Volume

MIB = 1 << 20
ORG = "acme"
Times = defaultdict[tuple[str, str, str], list[float]]


class Bare:
    """The calls below a driver, each timed by itself."""

    def __init__(self, ceph: Ceph, volumes: Path, base: Path) -> None:
        self._volumes, self._base, self._conf = volumes, base, ceph.conf
        argv = (PYTHON, "-I", str(Path(__file__).with_name("rbd_bare.py")), str(ceph.conf), pool_of(ORG))
        self._child = subprocess.Popen(
            (*argv, TEMPLATES, "tiny", "origin"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def qcow2(self, what: str, name: str, size: int) -> float:
        """By qemu-img, or a rename."""
        file, other = self._volumes / f"{name}.bare", self._volumes / f"{name}.bare.other"
        qemu: dict[str, tuple[str, ...]] = {
            "create": (
                "create",
                "-q",
                "-f",
                "qcow2",
                "-F",
                "qcow2",
                "-b",
                str(self._base),
                str(file),
                str(size),
            ),
            "look": ("info", "-f", "qcow2", str(file)),
            "grow": ("resize", "-q", "-f", "qcow2", str(file), str(size)),
            "snapshot": ("snapshot", "-c", "one", str(file)),
            "restore": ("snapshot", "-a", "one", str(file)),
            "clone": ("convert", "-O", "qcow2", "-l", "snapshot.name=one", str(file), str(other)),
            "export": ("convert", "-O", "qcow2", "-l", "snapshot.name=one", str(file), f"{other}.copy"),
            "load": ("convert", "-O", "qcow2", f"{other}.copy", f"{other}.loaded"),
        }
        began = time.perf_counter()
        if what in qemu:
            subprocess.run(("qemu-img", *qemu[what]), check=True, stdout=subprocess.DEVNULL)
        else:
            moved = self._volumes / f"{name}.trashed"
            (file if what == "trash" else moved).rename(moved if what == "trash" else file)
        return 1000 * (time.perf_counter() - began)

    def rbd(self, what: str, name: str, size: int) -> float:
        """By Ceph's binding, or qemu-img."""
        where = f"rbd:{pool_of(ORG)}/%s:id=admin:conf={self._conf}"
        copy = str(self._volumes / f"{name}.rbd-copy")
        qemu = {
            "export": ("-f", "raw", "-O", "qcow2", where % f"{name}-bare@one", copy),
            "load": ("-f", "qcow2", "-O", "raw", copy, where % f"{name}-loaded"),
        }
        if what in qemu:
            began = time.perf_counter()
            subprocess.run(("qemu-img", "convert", *qemu[what]), check=True)
            return 1000 * (time.perf_counter() - began)
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(
            json.dumps([what, {"name": f"{name}-bare", "to": f"{name}-bare-other", "size": size}]) + "\n"
        )
        self._child.stdin.flush()
        return float(self._child.stdout.readline())

    def close(self) -> None:
        """The binding's process is gone."""
        self._child.kill()
        self._child.wait()


async def _once(
    kind: str,
    store: Store,
    bare: Callable[[str, str, int], float],
    number: int,
    *,
    place: "Place",
    times: Times,
) -> None:
    """One volume's life, each call ours first and then bare, or the other way round."""
    volume, other, loaded = (Volume(ORG, f"v{number}{end}") for end in ("", "-other", "-copy"))
    file = place.directory / "copies" / f"{kind}-{number}.qcow2"
    copies: list[Any] = []
    gone: list[Any] = []

    async def export() -> None:
        copies.append(await store.export(volume, "one", file))

    async def trash() -> None:
        gone.append(await store.trash(volume, 0))

    calls: dict[str, tuple[Callable[[], Awaitable[object]], int]] = {
        "create": (lambda: store.create(volume, 256 * MIB, "tiny"), 256 * MIB),
        "look": (lambda: store.look(volume), 0),
        "grow": (lambda: store.grow(volume, 512 * MIB), 512 * MIB),
        "snapshot": (lambda: store.snapshot(volume, "one"), 0),
        "restore": (lambda: store.restore(volume, "one", 512 * MIB), 0),
        "clone": (lambda: store.clone(volume, "one", other), 0),
        "export": (export, 0),
        "load": (lambda: store.load(copies[0], loaded), 0),
        "trash": (trash, 0),
        "recover": (lambda: store.recover(gone[0]), 0),
    }
    for what, (call, size) in calls.items():
        if what == "snapshot":
            place.fill(kind, volume.name)
            place.fill(kind, f"{volume.name}-bare" if kind == "rbd" else f"v{number}.bare", bare=True)

        async def ours(what: str = what, call: Callable[[], Awaitable[object]] = call) -> None:
            began = time.perf_counter()
            await call()
            times[kind, what, "ours"].append(1000 * (time.perf_counter() - began))

        if number % 2:
            await ours()
        times[kind, what, "bare"].append(await asyncio.to_thread(bare, what, f"v{number}", size))
        if not number % 2:
            await ours()


class Place:
    """Where it all lies."""

    def __init__(self, directory: Path, volumes: Path, conf: Path, mib: int) -> None:
        self.directory, self._volumes, self._conf, self._mib = directory, volumes, conf, mib

    def fill(self, kind: str, name: str, *, bare: bool = False) -> None:
        """The volume has its data."""
        where = (
            f"rbd:{pool_of(ORG)}/{name}:id=admin:conf={self._conf}"
            if kind == "rbd"
            else str(self._volumes / (name if bare else f"{ORG}.{name}.qcow2"))
        )
        command = [
            "qemu-io",
            "-f",
            "raw" if kind == "rbd" else "qcow2",
            "-c",
            f"write -P 97 0 {self._mib}M",
            where,
        ]
        subprocess.run(command, check=True, capture_output=True)


async def measure(directory: Path, rounds: int, mib: int) -> Times:
    """The times of every call, in milliseconds."""
    ceph, machine = Ceph(directory / "c"), Hypervisor(directory / "h")
    base = directory / "templates" / "tiny" / "disk.qcow2"
    times: Times = defaultdict(list)
    await asyncio.gather(ceph.start(), machine.start())
    try:
        tenants = Tenants(Cluster(ceph.conf))
        await tenants.enrol(ORG, 100 << 30)
        await tenants.close()
        host = HostPlace("h1", machine.uri, "tcg", 1024, 20000, volumes=str(machine.volumes))
        stores: dict[str, Store] = {
            "qcow2": Directory(host, directory / "templates", SystemClock()),
            "rbd": Rbd(host, directory / "templates", Cluster(ceph.conf)),
        }
        for store in stores.values():
            await store.create(Volume(ORG, "first"), 256 * MIB, "tiny")
        bare, place = Bare(ceph, machine.volumes, base), Place(directory, machine.volumes, ceph.conf, mib)
        for number in range(rounds):
            await _once("qcow2", stores["qcow2"], bare.qcow2, number, place=place, times=times)
            await _once("rbd", stores["rbd"], bare.rbd, number, place=place, times=times)
        bare.close()
        for store in stores.values():
            await store.close()
    finally:
        await ceph.stop()
        await machine.stop()
    return times


def main() -> None:
    """Medians, ours and bare, then the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--mib", type=int, default=64, help="data in each volume")
    chosen = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="vs-", dir="/tmp"))
    directory.chmod(0o711)
    try:
        base = directory / "templates" / "tiny" / "disk.qcow2"
        base.parent.mkdir(parents=True)
        subprocess.run(("qemu-img", "create", "-q", "-f", "qcow2", str(base), "256M"), check=True)
        base.chmod(0o444)
        times = asyncio.run(measure(directory, chosen.rounds, chosen.mib))
    finally:
        shutil.rmtree(directory)
    medians = {"/".join(key): round(statistics.median(found), 1) for key, found in times.items()}
    print(
        f"{'milliseconds, medians of ' + str(chosen.rounds):<32}{'qcow2':>9}{'bare':>9}{'rbd':>9}{'bare':>9}"
    )
    for what in dict.fromkeys(key[1] for key in times):
        row = [medians[f"{kind}/{what}/{whose}"] for kind in ("qcow2", "rbd") for whose in ("ours", "bare")]
        print(f"{what:<32}" + "".join(f"{one:>9.1f}" for one in row))
    print(json.dumps({"rounds": chosen.rounds, "mib": chosen.mib, "median_ms": medians}))


if __name__ == "__main__":
    main()
