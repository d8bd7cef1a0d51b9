"""The ports of a host on which its guests answer, one for each."""

import errno
import socket
from collections.abc import Container

from schemas.house import HostPlace
from services.waker.port import HypervisorError


def free_port(place: HostPlace, taken: Container[int]) -> int:
    """The lowest port of the host that no domain of ours has and nobody listens on."""
    for port in range(place.first_port, min(place.first_port + place.ports, 65_536)):
        if port not in taken and _can_bind(place.address, port):
            return port
    raise HypervisorError(
        f"Host {place.name} has no free port among the {place.ports} from {place.first_port} on for another guest.",
        final=True,
    )


def _can_bind(address: str, port: int) -> bool:
    """Whether nobody listens there, as far as that can be seen: an address of another machine is that one's affair."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
        except OSError as error:
            return error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror)
        return True
