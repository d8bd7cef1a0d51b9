"""An SSH server on loopback for one test, with keys of its own: nobody's `~/.ssh` is read or written."""

import asyncio
import getpass
import os
from dataclasses import dataclass
from pathlib import Path

from lab.part import Part, Plan, find_program
from lab.ports import LOOPBACK
from tests.support import free_port

MEND = "apt-get install -y --no-install-recommends openssh-server openssh-client netcat-openbsd"
PRIVILEGE_SEPARATION = Path("/run/sshd")


@dataclass(frozen=True)
class Server:
    """It runs, lets one key in, and `command` is an ssh that knows it."""

    part: Part
    port: int
    command: Path
    key: Path
    stranger: Path
    """A key that it does not know."""

    def uri(self, socket: Path, key: Path) -> str:
        """What libvirt connects to: the hypervisor's own socket, at the other end of SSH."""
        return (
            f"qemu+ssh://{getpass.getuser()}@{LOOPBACK}:{self.port}/session?keyfile={key}&command={self.command}"
            f"&proxy=netcat&socket={socket}"
        )


async def serve(directory: Path) -> Server:
    """An SSH server that listens on loopback; stop its part."""
    lacking = [name for name in ("sshd", "ssh", "ssh-keygen", "nc") if find_program(name) is None]
    assert not lacking, f"{', '.join(lacking)} not installed: {MEND}"
    directory.mkdir()
    port = free_port()
    host, key, stranger = directory / "host", directory / "key", directory / "stranger"
    for path in (host, key, stranger):
        await _key(path)
    (directory / "authorized").write_text(key.with_suffix(".pub").read_text())
    kind, value, *_ = host.with_suffix(".pub").read_text().split()
    (directory / "known").write_text(f"[{LOOPBACK}]:{port} {kind} {value}\n")
    command = directory / "ssh"
    command.write_text(
        f'#!/bin/sh\nexec ssh -F none -o IdentitiesOnly=yes -o UserKnownHostsFile={directory}/known "$@"\n'
    )
    command.chmod(0o755)
    (directory / "sshd_config").write_text(
        f"Port {port}\nListenAddress {LOOPBACK}\nHostKey {host}\nAuthorizedKeysFile {directory}/authorized\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n"
    )
    if os.geteuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(exist_ok=True)
    program = find_program("sshd")
    assert program is not None
    argv = (program, "-D", "-e", "-f", str(directory / "sshd_config"))
    part = Part(Plan("sshd", argv, directory, lambda: _listens(port), MEND))
    await part.start()
    return Server(part, port, command, key, stranger)


async def _key(path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path))
    )
    assert await process.wait() == 0


async def _listens(port: int) -> bool:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    banner = await reader.readline()
    writer.close()
    return banner.startswith(b"SSH-2.0")
