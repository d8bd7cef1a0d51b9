"""What this machine lacks for the lab, each with the command that mends it.

Uses the standard library alone, so that the system's own Python can run it before anything is installed.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

KVM = Path("/dev/kvm")
FEWEST_FILES = 1024
DISK_MIB = 512
GUEST_MIB = 170  # resident memory of one emulated 96 MiB guest (measured)


@dataclass(frozen=True)
class Finding:
    """Something missing or worth knowing: one sentence, the command that mends it, and whether the lab needs it."""

    code: str
    sentence: str
    mend: str
    needed: bool


@dataclass(frozen=True)
class Need:
    """A thing the lab uses: how to see that it is here, and the Debian package that brings it."""

    what: str
    package: str
    here: Callable[[], bool]
    needed: bool = True


def on_path(program: str) -> Callable[[], bool]:
    """Answers whether `program` can be run; also looks where servers live, which a user's PATH may leave out."""
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"))
    return lambda: shutil.which(program, path=places) is not None


def any_file(*paths: str) -> Callable[[], bool]:
    """Answers whether one of `paths` exists."""
    return lambda: any(Path(path).exists() for path in paths)


def built_or(check: Callable[[], bool]) -> Callable[[], bool]:
    """Answers whether libvirt's binding is built already, or `check` says that it can be."""
    return lambda: importlib.util.find_spec("libvirtmod") is not None or check()


NEEDS: Sequence[Need] = (
    Need("QEMU", "qemu-system-x86", on_path("qemu-system-x86_64")),
    Need(
        "QEMU's BIOS",
        "seabios",
        any_file("/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/bios-256k.bin"),
    ),
    Need("libvirtd", "libvirt-daemon", on_path("libvirtd")),
    Need("libvirt's headers", "libvirt-dev", built_or(any_file("/usr/include/libvirt/libvirt.h"))),
    Need("a C compiler for libvirt-python", "gcc", built_or(on_path("gcc"))),
    Need("pkg-config for libvirt-python", "pkg-config", built_or(on_path("pkg-config"))),
    Need("setpriv", "util-linux", on_path("setpriv")),
    Need("dpkg-deb", "dpkg", on_path("dpkg-deb")),
    Need("apt-get", "apt", on_path("apt-get")),
    Need("Prometheus", "prometheus", on_path("prometheus")),
    Need("virsh, to look at guests by hand", "libvirt-clients", on_path("virsh"), needed=False),
    Need("Debian's HAProxy, used without the wheel", "haproxy", on_path("haproxy"), needed=False),
)


def findings(needs: Iterable[Need] = NEEDS) -> tuple[Finding, ...]:
    """Everything missing here; empty of `needed` ones means that the lab can start."""
    found = [_missing(need) for need in needs if not need.here()]
    found += [finding for finding in (_kvm(), _user(), _files(), _disk(), _memory()) if finding is not None]
    return tuple(found)


def missing_packages(needs: Iterable[Need] = NEEDS) -> tuple[str, ...]:
    """The Debian packages to install, needed ones only."""
    return tuple(need.package for need in needs if need.needed and not need.here())


def install_command(packages: Iterable[str]) -> str:
    """The command that installs `packages` here, with sudo where we are not root."""
    command = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    return command if os.geteuid() == 0 else f"sudo {command}"


def _missing(need: Need) -> Finding:
    mend = install_command([need.package])
    weight = "is missing" if need.needed else "is not here and not needed"
    return Finding(f"lab.{need.package}-missing", f"{need.what} {weight}; run `{mend}`.", mend, need.needed)


def _kvm() -> Finding | None:
    if not KVM.exists():
        return Finding(
            "lab.kvm-missing",
            "There is no /dev/kvm, so guests are emulated (TCG) and boot in seconds; run `modprobe kvm_intel || "
            "modprobe kvm_amd` if the CPU can virtualise.",
            "modprobe kvm_intel || modprobe kvm_amd",
            needed=False,
        )
    if os.geteuid() != 0 and not os.access(KVM, os.R_OK | os.W_OK):
        mend = "sudo usermod -aG kvm $USER"
        return Finding(
            "lab.kvm-denied",
            f"/dev/kvm may not be opened by this user, so guests are emulated (TCG); run `{mend}` and log in again.",
            mend,
            needed=False,
        )
    return None


def _user() -> Finding | None:
    uid = os.geteuid()
    try:
        pwd.getpwuid(uid)
    except KeyError:
        mend = f"echo 'virtscale:x:{uid}:{os.getegid()}::/tmp:/bin/sh' >> /etc/passwd"
        return Finding(
            "lab.user-unknown",
            f"The user {uid} has no entry in /etc/passwd, and libvirt asks for one; run `{mend}` as root.",
            mend,
            needed=True,
        )
    return None


def _disk() -> Finding | None:
    place = tempfile.gettempdir()
    free_mib = shutil.disk_usage(place).free // 1024**2
    if free_mib < DISK_MIB:
        return Finding(
            "lab.disk-full",
            f"{free_mib} MiB are free below {place} and the lab needs {DISK_MIB} MiB; make room (`df -h {place}` shows "
            "how much there is).",
            f"df -h {place}",
            needed=True,
        )
    return None


def _files() -> Finding | None:
    with Path("/proc/self/limits").open() as lines:
        found = next(
            (re.split(r"\s{2,}", line.strip()) for line in lines if line.startswith("Max open files")), None
        )
    hard = found[2] if found else "unlimited"
    if hard.isdigit() and int(hard) < FEWEST_FILES:
        return Finding(
            "lab.too-few-files",
            f"A process may open only {hard} files here and the load balancer needs {FEWEST_FILES}; "
            f"run `ulimit -Hn {FEWEST_FILES}` as root.",
            f"ulimit -Hn {FEWEST_FILES}",
            needed=True,
        )
    return None


def _memory() -> Finding | None:
    guests = 8
    with Path("/proc/meminfo").open() as lines:
        kib = next((int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), 0)
    if kib // 1024 < guests * GUEST_MIB:
        return Finding(
            "lab.memory-short",
            f"{kib // 1024} MiB of memory are free and {guests} guests take about {guests * GUEST_MIB} MiB; "
            "close something first; `ps aux --sort=-rss | head` shows what takes it.",
            "ps aux --sort=-rss | head",
            needed=False,
        )
    return None


def main(arguments: Sequence[str]) -> int:
    """Print the findings and give 1 when something needed is missing; `--packages` prints only what to install."""
    if "--packages" in arguments:
        sys.stdout.write("".join(f"{package}\n" for package in missing_packages()))
        return 0
    found = findings()
    for finding in found:
        sys.stdout.write(f"{'needed' if finding.needed else 'note'}: {finding.sentence}\n")
    if not found:
        sys.stdout.write("Everything the lab needs is here.\n")
    return 1 if any(finding.needed for finding in found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
