"""The guest image: a Debian cloud kernel and a small root in memory that serves HTTP and runs the QEMU agent."""

from __future__ import annotations

import asyncio
import fcntl
import gzip
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import cpio, packages
from lab.errors import LabError

CACHE_VARIABLE = "VIRTSCALE_CACHE"
KERNELS = ("linux-image-cloud-amd64", "linux-image-virtual")  # Debian's, Ubuntu's
MODULES = (
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
    "virtio_balloon",
    "button",
    "evdev",
)
SEED_MODULES = ("isofs",)  # loaded by a guest that has a seed disk
SCRIPTS = ("guest_init.sh", "guest_info.sh", "guest_disk.sh", "guest_seed.sh", "guest_seed.awk")
LIBRARIES = "usr/lib/x86_64-linux-gnu"
LOADER = "/lib64/ld-linux-x86-64.so.2"
POWER_OFF = b"#!/bin/sh\nexec poweroff -f\n"
ONLINE_CPU = b'#!/bin/sh\n[ "$SUBSYSTEM" = cpu ] && [ "$ACTION" = add ] && echo 1 > "/sys$DEVPATH/online"\n'
DECOMPRESS_SECONDS = 30.0
HTTP_PORT = 8080


@dataclass(frozen=True)
class GuestImage:
    """A built image: what a domain boots. The files are complete and never change once they are here."""

    directory: Path
    kernel_version: str

    @property
    def kernel(self) -> Path:
        """The bzImage. Never boot the unpacked ELF instead: it does not survive suspend-to-RAM, and reboots."""
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The root in memory, a gzip-compressed cpio archive."""
        return self.directory / "initrd.cpio.gz"


def cache_directory() -> Path:
    """Where images and downloads are kept: VIRTSCALE_CACHE, else ~/.cache/virtscale."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "virtscale")


async def build(cache: Path, *, refresh: bool = False) -> GuestImage:
    """An image of the present recipe exists in `cache`, built at most once, whoever asks at the same time.

    A kept image is used without asking apt; `refresh` builds anew with the kernel that apt offers today.
    Raises `lab.packages-unavailable` or `lab.guest-unbuildable`. Takes seconds and 27 MB of download once.
    """
    return await asyncio.to_thread(_build_once, cache, refresh=refresh)


def _build_once(cache: Path, *, refresh: bool) -> GuestImage:
    recipe = _recipe_hash()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(cache / "lock"):
            kept = None if refresh else _kept(cache, recipe)
            return kept or _build(cache, recipe)
    except OSError as error:
        raise LabError(
            "lab.guest-unbuildable",
            f"The guest image could not be written below {cache}: {error.strerror} ({error.filename}); "
            f"make room there (`df -h {cache}`), or name another place with {CACHE_VARIABLE}.",
        ) from error


@contextmanager
def _alone(lock: Path) -> Generator[None]:
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _kept(cache: Path, recipe: str) -> GuestImage | None:
    found = sorted(cache.glob(f"guest-*-{recipe}"), key=lambda path: path.stat().st_mtime)
    return (
        GuestImage(found[-1], found[-1].name.removeprefix("guest-").removesuffix(f"-{recipe}"))
        if found
        else None
    )


def _recipe_hash() -> str:
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for name in ("guest.py", "cpio.py", *SCRIPTS):
        digest.update((here / name).read_bytes())
    return digest.hexdigest()[:12]


def _build(cache: Path, recipe: str) -> GuestImage:
    downloads = cache / "downloads"
    with tempfile.TemporaryDirectory(dir=cache, prefix="build-") as scratch:
        work = Path(scratch)
        root = work / "root"
        for package in (*_kernel_packages(), "qemu-guest-agent", "busybox-static"):
            packages.unpack(packages.fetch(package, downloads), root)
        modules = next(iter(sorted(root.glob("lib/modules/*"))), None) or next(
            root.glob("usr/lib/modules/*"), None
        )
        kernels = sorted(root.glob("boot/vmlinuz-*"))
        if modules is None or not kernels:
            raise LabError(
                "lab.guest-unbuildable",
                f"The downloaded kernel package holds no kernel or no modules; run `rm -r {downloads}` and try again.",
            )
        image = GuestImage(cache / f"guest-{modules.name}-{recipe}", modules.name)
        draft = work / "image"
        draft.mkdir()
        shutil.copyfile(kernels[-1], draft / "vmlinuz")
        blob = cpio.archive(_root_entries(root, modules))
        (draft / "initrd.cpio.gz").write_bytes(gzip.compress(blob, compresslevel=1, mtime=0))
        for path in draft.iterdir():
            path.chmod(0o644)
        draft.chmod(0o755)
        if image.directory.exists():
            shutil.rmtree(image.directory)
        draft.rename(image.directory)
    return image


def _kernel_packages() -> tuple[str, ...]:
    for meta in KERNELS:
        for name in packages.dependencies(meta):
            if name.startswith("linux-image-"):
                modules = tuple(n for n in packages.dependencies(name) if n.startswith("linux-modules-"))
                return (name, *modules)
    raise LabError(
        "lab.packages-unavailable",
        f"apt knows none of {', '.join(KERNELS)}, from which the guests' kernel is taken; run `{packages.UPDATE}`.",
    )


def _root_entries(root: Path, modules: Path) -> Iterator[cpio.Entry]:
    here = Path(__file__).parent
    for name in (
        *(
            "bin",
            "dev",
            "etc",
            "etc/acpi",
            "etc/acpi/PWRF",
            "lib",
            "lib/modules",
            "lib64",
            "proc",
            "run",
            "sbin",
        ),
        *("sys", "tmp", "usr", "usr/lib", LIBRARIES, "usr/sbin", "var", "www", "www/cgi-bin"),
    ):
        yield cpio.folder(name)
    yield cpio.character_device("dev/console", 5, 1)
    yield cpio.file("init", (here / "guest_init.sh").read_bytes(), executable=True)
    yield cpio.file("www/cgi-bin/info", (here / "guest_info.sh").read_bytes(), executable=True)
    yield cpio.file("www/cgi-bin/disk", (here / "guest_disk.sh").read_bytes(), executable=True)
    yield cpio.file("etc/seed.sh", (here / "guest_seed.sh").read_bytes(), executable=True)
    yield cpio.file("etc/seed.awk", (here / "guest_seed.awk").read_bytes())
    yield cpio.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
    yield cpio.file("etc/acpi/PWRF/00000080", POWER_OFF, executable=True)
    yield cpio.file("etc/online-cpu", ONLINE_CPU, executable=True)
    yield cpio.file("sbin/shutdown", POWER_OFF, executable=True)
    yield cpio.link("sbin/hwclock", "/bin/busybox")
    busybox = next(path for path in (root / "bin/busybox", root / "usr/bin/busybox") if path.exists())
    yield cpio.file("bin/busybox", busybox.read_bytes(), executable=True)
    yield cpio.link("bin/sh", "busybox")
    agent = root / "usr/sbin/qemu-ga"
    yield cpio.file("usr/sbin/qemu-ga", agent.read_bytes(), executable=True)
    yield cpio.file(LOADER.lstrip("/"), Path(LOADER).read_bytes(), executable=True)
    for library in _libraries(agent):
        yield cpio.file(f"{LIBRARIES}/{library.name}", library.read_bytes(), executable=True)
    done: set[str] = set()
    for order, wanted in (("order", MODULES), ("seed-order", SEED_MODULES)):
        names: list[str] = []
        for name, content in _drivers(modules, wanted, done):
            names.append(name)
            yield cpio.file(f"lib/modules/{name}.ko", content)
        yield cpio.file(f"lib/modules/{order}", ("\n".join(names) + "\n").encode())


def _libraries(program: Path) -> tuple[Path, ...]:
    """What `program` is linked with, taken from this machine: QEMU's own package brings the same libraries."""
    done = subprocess.run(["ldd", str(program)], capture_output=True, text=True, timeout=10, check=False)
    missing = re.findall(r"(\S+) => not found", done.stdout)
    if done.returncode != 0 or missing:
        raise LabError(
            "lab.guest-unbuildable",
            f"The guest agent needs {', '.join(missing) or 'libraries'} that this machine lacks; "
            "run `apt-get install -y qemu-system-x86 libglib2.0-0 libnuma1 liburing2`.",
        )
    return tuple(Path(path) for path in re.findall(r"=> (/\S+)", done.stdout))


def _drivers(modules: Path, wanted: Iterable[str], done: set[str]) -> Iterator[tuple[str, bytes]]:
    """The wanted modules, each after those it depends on; what is `done` or built into the kernel is left out."""
    files = {_module_name(path): path for path in modules.rglob("*.ko*")}

    def visit(name: str) -> Iterator[tuple[str, bytes]]:
        if name in done or name not in files:
            return
        done.add(name)
        content = _module(files[name])
        found = re.search(rb"\0depends=([^\0]*)\0", content)
        for needed in found.group(1).decode().split(",") if found else ():
            yield from visit(needed.replace("-", "_"))
        yield name, content

    for name in wanted:
        yield from visit(name)


def _module_name(path: Path) -> str:
    return path.name.split(".ko")[0].replace("-", "_")


def _module(path: Path) -> bytes:
    match path.suffix:
        case ".ko":
            return path.read_bytes()
        case ".xz":
            return lzma.decompress(path.read_bytes())
        case ".zst":
            return subprocess.run(
                ["zstd", "-dc", str(path)], capture_output=True, timeout=DECOMPRESS_SECONDS, check=True
            ).stdout
        case _:
            raise LabError(
                "lab.guest-unbuildable", f"The kernel module {path.name} is packed in a way not known here."
            )
