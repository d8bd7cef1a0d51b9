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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

KVM = Path("/dev/kvm")
FEWEST_FILES = 1024
LEAST_DISK_MIB = 512  # a day of a busy pool and its metrics, with the logs of every part
GUEST_MIB = 170  # resident memory of one emulated 96 MiB guest (measured)


@dataclass(frozen=True)
class Finding:
    """Something missing or worth knowing: one sentence with the command that mends it, and whether the lab needs it."""

    code: str
    sentence: str
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
    Need("qemu-img", "qemu-utils", on_path("qemu-img")),
    Need("libvirtd", "libvirt-daemon", on_path("libvirtd")),
    Need("the header file of libvirt", "libvirt-dev", built_or(any_file("/usr/include/libvirt/libvirt.h"))),
    Need("a C compiler for libvirt-python", "gcc", built_or(on_path("gcc"))),
    Need("pkg-config for libvirt-python", "pkg-config", built_or(on_path("pkg-config"))),
    Need("setpriv", "util-linux", on_path("setpriv")),
    Need("dpkg-deb", "dpkg", on_path("dpkg-deb")),
    Need("apt-get", "apt", on_path("apt-get")),
    Need("Prometheus", "prometheus", on_path("prometheus")),
    Need(
        "Alertmanager, whose silences a deletion sets",
        "prometheus-alertmanager",
        on_path("prometheus-alertmanager"),
        needed=False,
    ),
    Need("virsh, to look at guests by hand", "libvirt-clients", on_path("virsh"), needed=False),
    Need("Debian's HAProxy, used without the wheel", "haproxy", on_path("haproxy"), needed=False),
)


def findings(directory: Path, needs: Iterable[Need] = NEEDS) -> tuple[Finding, ...]:
    """Everything missing for an installation in `directory`; none that is `needed` means that the lab can start."""
    found = [_missing(need) for need in needs if not need.here()]
    found += [one for one in (kvm(), _user(), _files(), disk(directory), _memory()) if one is not None]
    return tuple(found)


def install_command(packages: Iterable[str]) -> str:
    """The command that installs `packages` here, with sudo where we are not root."""
    command = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    return command if os.geteuid() == 0 else f"sudo {command}"


def _missing(need: Need) -> Finding:
    weight = "is missing" if need.needed else "is not here and not needed"
    return Finding(
        f"lab.{need.package}-missing",
        f"{need.what} {weight}; run `{install_command([need.package])}`.",
        need.needed,
    )


def kvm() -> Finding | None:
    """A note where guests are emulated: slower, and no reason not to start."""
    if not KVM.exists():
        return Finding(
            "lab.kvm-missing",
            "There is no /dev/kvm, so guests are emulated (TCG) and boot in seconds; run `modprobe kvm_intel || "
            "modprobe kvm_amd` if the CPU can virtualise.",
            needed=False,
        )
    if os.geteuid() != 0 and not os.access(KVM, os.R_OK | os.W_OK):
        return Finding(
            "lab.kvm-denied",
            "/dev/kvm may not be opened by this user, so guests are emulated (TCG); run `sudo usermod -aG kvm $USER` "
            "and log in again.",
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
            needed=True,
        )
    return None


def disk(directory: Path) -> Finding | None:
    """Says where the ledger would soon have no room: what is full takes no events at all."""
    free_mib = shutil.disk_usage(directory).free // 1024**2
    if free_mib < LEAST_DISK_MIB:
        return Finding(
            "lab.disk-full",
            f"{directory} has {free_mib} MiB free and an installation wants at least {LEAST_DISK_MIB}; free some, see "
            f"`du -xhd2 {directory.anchor} | sort -h | tail`, or name another directory in VIRTSCALE_HOUSE.",
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
            needed=False,
        )
    return None


def main(arguments: Sequence[str]) -> int:
    """Print what an installation in the given directory, or in this one, lacks; 1 when something needed is missing."""
    found = findings(Path(*arguments[:1]).resolve())
    for finding in found:
        sys.stdout.write(f"{'needed' if finding.needed else 'note'}: {finding.sentence}\n")
    if not found:
        sys.stdout.write("Everything the lab needs is here.\n")
    return 1 if any(finding.needed for finding in found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
