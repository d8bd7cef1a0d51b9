"""KVM or TCG: decided by really booting a guest, never by the presence of /dev/kvm."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import signal
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.guest import GuestImage
from lab.hypervisor import KVM, MEND, guest_launcher
from lab.part import find_program
from lab.template import Accelerator

QEMU = "qemu-system-x86_64"
BOOT_SECONDS = 8.0
PROBE_MEMORY_MIB = 96
READY = b"READY "
REMEMBERED = "accelerator.json"


@dataclass(frozen=True)
class Verdict:
    """Which accelerator to use, and one sentence that says why."""

    accelerator: Accelerator
    reason: str


async def probe(image: GuestImage, *, boot_seconds: float = BOOT_SECONDS) -> Verdict:
    """KVM if this image boots on it as the guests' user within `boot_seconds`, else TCG.

    The answer is kept beside the image and asked for anew when the kernel, the CPU, the user or the rights on
    /dev/kvm change. The trap it exists for: a host may offer /dev/kvm, start QEMU on it, and still never boot a
    stock kernel. Raises `lab.binary-missing` without QEMU.
    """
    if find_program(QEMU) is None:
        raise LabError("lab.binary-missing", f"Guests need {QEMU}, which is not here; run `{MEND}`.")
    if not KVM.exists():
        return Verdict("tcg", "This machine offers no /dev/kvm; guests are emulated (TCG).")
    identity = machine_identity()
    kept = _recall(image, identity)
    if kept is not None:
        return kept
    verdict = await boot_on_kvm(image, guest_launcher(), boot_seconds)
    _remember(image, identity, verdict)
    return verdict


async def boot_on_kvm(image: GuestImage, launcher: tuple[str, ...], boot_seconds: float) -> Verdict:
    """What a guest booted on KVM came to; nothing is left running, and nothing is kept."""
    with tempfile.TemporaryDirectory(prefix="vs-kvm-") as directory:
        here = Path(directory)
        _copy(image, here)
        process = await asyncio.create_subprocess_exec(
            *(*launcher, "setpriv", "--pdeathsig", "KILL", QEMU),
            *("-accel", "kvm", "-cpu", "host", "-m", str(PROBE_MEMORY_MIB), "-nodefaults", "-no-reboot"),
            *("-kernel", str(here / image.kernel.name), "-initrd", str(here / image.initrd.name)),
            *(
                "-append",
                "console=ttyS0 quiet panic=-1 vs.name=probe",
                "-display",
                "none",
                "-serial",
                "stdio",
            ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(boot_seconds):
                said = await _until_ready(process)
        except TimeoutError:
            return Verdict(
                "tcg", f"A guest on KVM was not up after {boot_seconds:g} s; guests are emulated (TCG)."
            )
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if READY in said:
        return Verdict("kvm", "A guest boots on KVM here.")
    last = (said.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1][:160]
    return Verdict("tcg", f"A guest on KVM ended at its boot ({last}); guests are emulated (TCG).")


def machine_identity() -> str:
    """What the answer depends on: kernel, CPU, user, and who may open /dev/kvm."""
    node = KVM.stat()
    model = ""
    with Path("/proc/cpuinfo").open() as lines:
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    rights = f"{node.st_uid}:{node.st_gid}:{node.st_mode:o}"
    return f"{platform.release()} {platform.version()} | {model} | uid {os.geteuid()} | kvm {rights}"


def _copy(image: GuestImage, directory: Path) -> None:
    """Put the image where the guests' user can read it; the cache may lie where that user cannot go."""
    directory.chmod(0o755)
    for source in (image.kernel, image.initrd):
        target = directory / source.name
        shutil.copyfile(source, target)
        target.chmod(0o644)


async def _until_ready(process: asyncio.subprocess.Process) -> bytes:
    said = b""
    if process.stdout is not None:
        while READY not in said:
            chunk = await process.stdout.read(4096)
            if not chunk:
                break
            said = (said + chunk)[-65536:]
    return said


def _recall(image: GuestImage, identity: str) -> Verdict | None:
    path = image.directory / REMEMBERED
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_text())
    except ValueError:  # a torn file is as good as none: the probe runs again and replaces it
        return None
    if kept.get("identity") != identity:
        return None
    return Verdict("kvm" if kept.get("accelerator") == "kvm" else "tcg", str(kept.get("reason")))


def _remember(image: GuestImage, identity: str, verdict: Verdict) -> None:
    path = image.directory / REMEMBERED
    draft = path.with_suffix(".draft")
    draft.write_text(
        json.dumps(
            {"identity": identity, "accelerator": verdict.accelerator, "reason": verdict.reason}, indent=1
        )
    )
    draft.replace(path)
