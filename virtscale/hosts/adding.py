"""`virtscale host add` and `host remove`: which hypervisors the house has."""

import asyncio
import re
from pathlib import Path
from typing import Final

from schemas.house import HostPlace, House
from schemas.intake import ChangeHost
from schemas.names import PLATFORM, is_name
from virtscale.ask import new_key
from virtscale.exits import EXIT_DONE
from virtscale.freezes.standing import actor_of, checked
from virtscale.hosts import added as hosts
from virtscale.hosts import uri as host_uri
from virtscale.hosts.added import HostError
from virtscale.invocation import UsageError
from virtscale.ruled import ruled
from virtscale.show import Format, say, show

_SHARE: Final = 4
"""A quarter of the machine's memory is lent unless somebody says more: QEMU itself takes as much again as a small guest."""

PORTS: Final = 500
_LEAST_MIB: Final = 64
_HIGHEST: Final = 65_535
_UNITS: Final = {"MiB": 1, "GiB": 1024, "TiB": 1024**2}


def add(  # noqa: PLR0917 - what a host consists of
    house: House,
    name: str,
    text: str,
    memory: str,
    address: str,
    first_port: int,
    volumes: str,
    form: Format,
) -> int:
    """The hypervisor answers, and the house has it from now on; a running house starts its waker. The exit code."""
    directory = Path(house.directory)
    if not is_name(name):
        raise UsageError(
            f"{name!a:.60} cannot be the name of a host: 1 to 40 of a-z, 0-9 and inner dashes. Nothing was added."
        )
    if not Path(volumes).is_absolute():
        raise UsageError(f"{volumes!a:.60} is no absolute path: write where on that host disks are to lie.")
    uri = host_uri.read(text)
    present = _present(house)
    host_uri.require_new(uri, name, present)
    _require_alike(uri, present)
    found = host_uri.probe(uri)
    where = address or uri.address
    place = HostPlace(
        name=name,
        uri=uri.text,
        # The template says on what guests run, and the house has one template.
        substrate="test" if uri.travels == "test" else present[0].substrate if present else "tcg",
        memory_mib=_memory_mib(memory, found.memory_mib, name),
        first_port=first_port or _first_port(where, present),
        ports=PORTS,
        address=where,
        volumes="" if uri.travels == "test" else volumes,
    )
    _require_ports(place, present)
    hosts.keep(directory, place)
    show(
        [
            {
                "host": name,
                "uri": place.uri,
                "memory_mib": place.memory_mib,
                "vcpu": found.vcpu,
                "libvirt": found.libvirt_version,
                "guests_at": f"{place.address}:{place.first_port}-{place.first_port + place.ports - 1}",
            }
        ],
        form,
    )
    return EXIT_DONE


def remove(house: House, name: str, reason: str, actor: str | None) -> int:
    """The gate forgot the host, then the house did. Safe to repeat: a half-done one is completed. The exit code."""
    request = ChangeHost(
        key=new_key(), host=name, change="remove", actor=actor_of(actor), reason=checked(reason)
    )
    done = asyncio.run(ruled(house, PLATFORM, request))
    if done.answer.outcome == "refused":
        say(f"{name}: {done.text}")
        return done.exit_code
    if hosts.forget(Path(house.directory), name):
        say(f"Host {name} is no longer part of the house; its waker ends.")
    else:
        say(
            f"Host {name} is removed while this house is up; it is one of its own, and the next `up` brings it back."
        )
    return EXIT_DONE


def _present(house: House) -> tuple[HostPlace, ...]:
    """All hosts: those the running house knows, and those it is about to notice."""
    known = {place.name: place for place in house.hosts}
    return (*known.values(), *(one for one in hosts.all_of(Path(house.directory)) if one.name not in known))


def _require_alike(uri: host_uri.Uri, present: tuple[HostPlace, ...]) -> None:
    """No guest runs in the test driver: in a house where guests serve, VMs placed there would fail one after the other."""
    test = [place.name for place in present if place.substrate == "test"]
    if (uri.travels == "test") != bool(test) and present:
        kind = (
            "libvirt's test driver, where no guest serves" if test else "hypervisors with guests that serve"
        )
        raise HostError(
            "HostUnlike",
            f"The hosts of this house are {kind}, and {uri.text} is not: VMs placed there could not do the same. Nothing "
            "was added.",
        )


def _memory_mib(text: str, machine_mib: int, name: str) -> int:
    """What the host lends: an amount such as `4GiB`, or a share of what the machine has."""
    if not text:
        return max(_LEAST_MIB, machine_mib // _SHARE)
    found = re.fullmatch(r"([0-9]{1,9})(MiB|GiB|TiB)", text, re.ASCII)
    if found is None:
        raise UsageError(f"{text!a:.60} is no amount of memory: write 4096MiB or 4GiB. Nothing was added.")
    amount = int(found.group(1)) * _UNITS[found.group(2)]
    if not _LEAST_MIB <= amount <= machine_mib:
        raise HostError(
            "HostMemory",
            f"Host {name} cannot lend {amount} MiB: libvirt says that the machine has {machine_mib}, and "
            f"{_LEAST_MIB} are the least. Nothing was added.",
        )
    return amount


def _first_port(address: str, present: tuple[HostPlace, ...]) -> int:
    """The first port behind all that guests at this address have."""
    ends = [place.first_port + place.ports for place in present if place.address == address]
    return max(ends, default=21_000)


def _require_ports(place: HostPlace, present: tuple[HostPlace, ...]) -> None:
    last = place.first_port + place.ports - 1
    if not 1024 <= place.first_port <= last <= _HIGHEST:  # noqa: PLR2004 - ports below are the system's
        raise UsageError(
            f"Guests cannot have the ports {place.first_port} to {last}: choose --first-port 1024 to {_HIGHEST - place.ports}."
        )
    for other in present:
        if (
            other.address == place.address
            and other.first_port <= last
            and place.first_port < other.first_port + other.ports
        ):
            raise HostError(
                "HostPorts",
                f"Guests of host {other.name} have the ports {other.first_port} to {other.first_port + other.ports - 1} of "
                f"{other.address}: choose another --first-port. Nothing was added.",
            )
