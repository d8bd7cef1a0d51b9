"""A private libvirtd in session mode, with everything it keeps below one short directory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import libvirt

from lab.certificates import Certificates
from lab.errors import LabError
from lab.part import OnChange, Part, Plan
from lab.ports import LOOPBACK
from lab.reaper import Reaper

T = TypeVar("T")

MEND = "apt-get install -y --no-install-recommends libvirt-daemon qemu-system-x86 seabios"
NOBODY = 65534  # session mode is decided by the uid: libvirtd run by root always serves the whole system
SOCKET_PATH_BYTES = 107  # 108 in sockaddr_un, with the closing zero
LONGEST_SOCKET = "c/libvirt/qemu/lib/domain-99999-0123456789-01234/monitor.sock"
KVM = Path("/dev/kvm")
VOLUMES = "volumes"
"""Where the guests' disks lie, below the hypervisor's own directory."""
DESTROY_SECONDS = 30.0
DESTROYED_TOGETHER = 4
SETTINGS = """\
max_clients = 200
max_workers = 40
prio_workers = 10
max_client_requests = 40
max_anonymous_clients = 20
"""
QEMU_SETTINGS = """\
stdio_handler = "file"
"""


def short_directory(seed: Path) -> Path:
    """A directory name short enough for QEMU's sockets, the same for the same `seed` and user.

    Below /run for root, because root's guests run as another user who must be able to enter; else below the user's
    runtime directory, or the system's temporary one. Whoever starts again with the same seed finds the guests again.
    """
    digest = hashlib.sha256(f"{os.geteuid()}:{seed.resolve()}".encode()).hexdigest()[:8]
    runtime = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", "")
    usable = (
        bool(runtime) and os.access(runtime, os.W_OK) and fits_sockets(Path(runtime) / f"virtscale-{digest}")
    )
    return Path(runtime if usable else tempfile.gettempdir()) / f"virtscale-{digest}"


def guest_launcher() -> tuple[str, ...]:
    """What is put before a command so that it runs as the guests' user.

    Nothing for a plain user. Root becomes "nobody", with the group of /dev/kvm where that group may use it.
    """
    if os.geteuid() != 0:
        return ()
    groups = "--clear-groups"
    with suppress(FileNotFoundError):
        kvm = KVM.stat()
        if kvm.st_gid != 0 and kvm.st_mode & stat.S_IRGRP and kvm.st_mode & stat.S_IWGRP:
            groups = f"--groups={kvm.st_gid}"
    return ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", groups)


def own(path: Path) -> Path:
    """`path` belongs to the guests' user, so that libvirtd and QEMU may write there."""
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    return path


@dataclass(frozen=True)
class Listening:
    """A libvirtd that is also reached over TLS on loopback, by clients that the same authority knows."""

    port: int
    certificates: Certificates


class Hypervisor:
    """One libvirtd of our own, in the foreground as our child; the user's libvirt is not touched.

    Guests outlive libvirtd, so that a restart costs none; they do not outlive *us*, unless `guests_stay`.
    The trap: their definitions stay in `directory`, so call `destroy_domains` where the next start shall be empty.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "libvirtd",
        keep: bool = False,
        guests_stay: bool = False,
        on_change: OnChange | None = None,
        listening: Listening | None = None,
    ) -> None:
        self.directory = directory
        self._listening = listening
        self._guests_stay = guests_stay
        self._reaper = Reaper(
            directory / "run" / "libvirt" / "qemu" / "run", f"{directory}/", guest_launcher()
        )
        self.socket = directory / "run" / "libvirt" / "libvirt-sock"
        self._part = Part(
            Plan(
                name=name,
                argv=("libvirtd",) if listening is None else ("libvirtd", "--listen"),
                directory=directory / "log",
                ready=self._answers,
                mend=MEND,
                environment=self._environment(),
                launcher=guest_launcher(),
                ready_seconds=30.0,
                keep=keep,
            ),
            on_change,
        )

    @property
    def uri(self) -> str:
        """What libvirt clients connect to; fit for any user who may open the socket."""
        return f"qemu:///session?socket={self.socket}"

    @property
    def volumes(self) -> Path:
        """Where the guests' disks lie; libvirtd and the guests may write there."""
        return self.directory / VOLUMES

    @property
    def part(self) -> Part:
        """The libvirtd process."""
        return self._part

    async def start(self) -> None:
        """A libvirtd answers at `uri`; guests of an earlier run in the same directory are adopted by it."""
        require_short(self.directory)
        self._prepare()
        require_reachable(self.directory)
        await self._part.start()
        if not self._guests_stay:
            await self._reaper.start()

    async def stop(self) -> None:
        """The libvirtd is gone, and so are its guests unless `guests_stay`; a destroyed guest ends in better order."""
        await self._part.stop()
        await self._reaper.strike()

    async def kill(self) -> None:
        """The libvirtd is dead by SIGKILL; its guests run on."""
        await self._part.kill()

    async def restart(self) -> None:
        """A new libvirtd answers and has adopted the running guests."""
        await self._part.restart()

    async def destroy_domains(self) -> tuple[str, ...]:
        """No domain of this instance runs or is defined any more; gives the names of those that went.

        At most four go at once: destroying waits for QEMU's exit in steps of 200 ms. Whatever does not end within
        30 s raises `lab.part-not-ready`.
        """
        connection = await self._call(lambda: libvirt.open(self.uri))
        try:
            domains = await self._call(connection.listAllDomains)
            gate = asyncio.Semaphore(DESTROYED_TOGETHER)

            async def forget(domain: libvirt.virDomain) -> str:
                async with gate:
                    return await self._call(lambda: _forget(domain))

            return tuple(await asyncio.gather(*(forget(domain) for domain in domains)))
        finally:
            await self._call(connection.close)

    def _environment(self) -> dict[str, str]:
        here = self.directory
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(here / "home"),
            "XDG_RUNTIME_DIR": str(here / "run"),
            "XDG_CONFIG_HOME": str(here / "c"),
            "XDG_CACHE_HOME": str(here / "cache"),
            "XDG_DATA_HOME": str(here / "data"),
        }

    def _prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        found = self.directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise LabError(
                "lab.path-not-ours",
                f"The hypervisor's directory {self.directory} belongs to uid {found.st_uid}, not to us "
                f"({os.geteuid()}); remove it, or choose another.",
            )
        self.directory.chmod(0o711)
        for name in ("home", "run", "c", "c/libvirt", "cache", "data", "console", VOLUMES):
            path = self.directory / name
            path.mkdir(exist_ok=True)
            own(path)
        for name, text in (("libvirtd.conf", self._settings()), ("qemu.conf", QEMU_SETTINGS)):
            _write_anew(self.directory / "c" / "libvirt" / name, text)

    def _settings(self) -> str:
        if self._listening is None:
            return SETTINGS
        given = self._listening.certificates
        ours = self.directory / "pki"
        ours.mkdir(exist_ok=True)
        for source in (given.authority, given.server_certificate, given.server_key):
            shutil.copyfile(source, ours / source.name)
            own(ours / source.name).chmod(0o600)
        own(ours).chmod(0o700)
        return (
            f"{SETTINGS}listen_tls = 1\nlisten_tcp = 0\n"
            f'listen_addr = "{LOOPBACK}"\ntls_port = "{self._listening.port}"\n'
            f'ca_file = "{ours / given.authority.name}"\ncert_file = "{ours / given.server_certificate.name}"\n'
            f'key_file = "{ours / given.server_key.name}"\n'
        )

    async def _answers(self) -> bool:
        _, writer = await asyncio.open_unix_connection(self.socket)
        writer.close()
        # The socket listens before the drivers are up; the first call is answered when they are.
        return await self._call(lambda: _version(self.uri)) > 0

    async def _call(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.wait_for(asyncio.to_thread(call), DESTROY_SECONDS)
        except TimeoutError as error:
            raise LabError(
                "lab.part-not-ready",
                f"libvirtd at {self.socket} did not answer within {DESTROY_SECONDS:g} s; see {self._part.plan.log}.",
            ) from error
        except libvirt.libvirtError as error:
            raise LabError(
                "lab.hypervisor-refused",
                f"libvirtd at {self.socket} refused: {error}; see {self._part.plan.log}.",
            ) from error


def fits_sockets(directory: Path) -> bool:
    """Whether QEMU's sockets below `directory` stay within what the kernel takes."""
    return len(os.fsencode(directory / LONGEST_SOCKET)) <= SOCKET_PATH_BYTES


def require_short(directory: Path) -> None:
    """Raise `lab.path-too-long` when QEMU's sockets below `directory` would pass what the kernel takes."""
    if not fits_sockets(directory):
        length = len(os.fsencode(directory))
        allowed = SOCKET_PATH_BYTES - len(LONGEST_SOCKET) - 1
        raise LabError(
            "lab.path-too-long",
            f"The hypervisor's directory {directory} has {length} bytes; its unix sockets "
            f"allow {allowed}. Choose a shorter one, for example {short_directory(directory)}.",
        )


def require_reachable(directory: Path) -> None:
    """Raise `lab.path-not-reachable` when the guests' user cannot enter `directory` (root drops to nobody)."""
    if os.geteuid() != 0:
        return
    for parent in directory.resolve().parents:
        if not parent.stat().st_mode & stat.S_IXOTH:
            raise LabError(
                "lab.path-not-reachable",
                f"Guests started by root run as uid {NOBODY}, which may not enter {parent}; "
                f"choose another directory, for example {short_directory(directory)}, or run `chmod o+x {parent}`.",
            )


def _write_anew(path: Path, text: str) -> None:
    """A fresh file of ours: whatever stood there, a link of the guests' user included, is not written through."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(handle, "w") as stream:
        stream.write(text)


def _version(uri: str) -> int:
    connection = libvirt.open(uri)
    try:
        return connection.getLibVersion()
    finally:
        connection.close()


def _forget(domain: libvirt.virDomain) -> str:
    name = domain.name()
    for step in (domain.destroy, lambda: domain.undefineFlags(_UNDEFINE)):
        try:
            step()
        except libvirt.libvirtError as error:
            # Not running, or gone already (a transient domain ends with its process): that is what is wanted.
            if error.get_error_code() not in {libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN}:
                raise
    return name


_UNDEFINE = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
