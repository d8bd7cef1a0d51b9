"""Loopback ports: find free ones, and say clearly when a wanted one is taken."""

from __future__ import annotations

import socket

from lab.errors import LabError

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> tuple[int, ...]:
    """Give `count` different TCP ports on loopback that nobody listened on a moment ago.

    All are held open together while picking, so that the kernel cannot hand out one of them twice. The trap: nothing
    holds them until the caller binds them, so bind soon and treat "taken" as an answer.
    """
    held: list[socket.socket] = []
    try:
        for _ in range(count):
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            held.append(listener)
            listener.bind((LOOPBACK, 0))
        return tuple(int(listener.getsockname()[1]) for listener in held)
    finally:
        for listener in held:
            listener.close()


def require_free(
    port: int, wanted_by: str, host: str = LOOPBACK, *, instead: str = "choose another port"
) -> None:
    """Raise `lab.port-taken` unless `host:port` can be bound now.

    SO_REUSEADDR is set as the servers themselves set it: a port in TIME_WAIT counts as free.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise LabError(
                "lab.port-taken",
                f"Port {port} on {host}, wanted by {wanted_by}, is taken or not allowed ({error.strerror}). "
                f"Nothing was started for it; find its owner with `ss -ltnp 'sport = :{port}'`, "
                f"stop that, or {instead}.",
            ) from error
