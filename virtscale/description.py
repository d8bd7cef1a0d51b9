"""What `house.json` says of a house: where its parts are, found anew at each start, and what somebody chose, which stays."""

import datetime as dt
from pathlib import Path
from typing import Final

import msgspec

from events import durable
from events.clock import ClockError, move
from lab import alertmanager
from lab.hypervisor import short_directory
from lab.ports import LOOPBACK
from schemas.house import FILE, VARIABLE, CephPlace, HostPlace, House, HouseError
from virtscale import cluster
from virtscale.ports import Ports

ORIGIN: Final = "ledger.virtscale.local/house"
"""The log of a house on one machine; an operator with a name of its own writes it into `house.json`."""

PERMIT_SECONDS: Final = 5.0
"""When the sealer is silent for longer, nobody writes. It speaks twice a second, and a restart takes it about one."""

_OWN: Final = f"http://{LOOPBACK}:"
"""How the address of the house's own Alertmanager begins. One that begins otherwise (`http://localhost:`) is an operator's, and stays."""

_PATHS: Final = ("audit", "audit_key", "marks", "backups", "clock")


class Kept(msgspec.Struct, frozen=True):
    """What an operator may have chosen for the house; None where nobody did."""

    directory: str | None = None
    audit: str | None = None
    audit_key: str | None = None
    marks: str | None = None
    origin: str | None = None
    permit_seconds: float | None = None
    witnesses: tuple[str, ...] = ()
    alertmanager_url: str = ""
    backups: str | None = None
    """Empty where somebody wants none to be made."""
    clock: str = ""
    """A house that was founded with a clock that can be moved keeps it: without it, it would go back to earlier times."""
    ceph: CephPlace | None = None


def kept(directory: Path, *, permit_seconds: float | None = None, own_ceph: bool = False) -> Kept:
    """What the house's description says that a start must not change, or `HouseError` where it cannot be read.

    A path inside the house goes with it when its directory was moved. `permit_seconds` is chosen here where it is not None, and the
    house's own cluster with `own_ceph`.
    """
    path = directory / FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Kept)
    except FileNotFoundError:
        found = Kept()
    except msgspec.DecodeError as error:
        raise HouseError(
            f"{path} cannot be read: {error}. It may say where the audit log is and whose it is, so it is not written anew: "
            "mend it, or move it away if none of that was changed. Nothing was started."
        ) from error
    places = {name: _here(directory, found, name, path) for name in _PATHS}
    chosen = found.permit_seconds if permit_seconds is None else permit_seconds
    ceph = cluster.chosen(directory, found.directory, found.ceph, own=own_ceph)
    return msgspec.structs.replace(found, **places, permit_seconds=chosen, ceph=ceph)


def _here(directory: Path, found: Kept, name: str, path: Path) -> str | None:
    said: str | None = getattr(found, name)
    if said is None or (name in {"backups", "clock"} and not said):
        return said
    if not Path(said).is_absolute():
        raise HouseError(f"{path} has the {name} {said!a:.90}: write an absolute path. Nothing was started.")
    if found.directory is not None and Path(said).is_relative_to(found.directory):
        return str(directory / Path(said).relative_to(found.directory))
    return said


def describe(
    directory: Path, ports: Ports, templates: str, hosts: tuple[HostPlace, ...], chosen: Kept
) -> House:
    """The house in this directory, with what was chosen for it and the usual places for the rest."""
    seconds = PERMIT_SECONDS if chosen.permit_seconds is None else chosen.permit_seconds
    return House(
        directory=str(directory),
        bus_url=f"nats://{LOOPBACK}:{ports.bus}",
        keys=str(directory / "keys"),
        signing_keys=str(directory / "signing"),
        contracts=str(directory / "contracts"),
        pools=str(directory / "pools"),
        templates=templates,
        vault=str(directory / "vault"),
        hosts=hosts,
        balancer_socket=str(directory / "haproxy" / "haproxy.sock"),
        balancer_config=str(directory / "haproxy" / "haproxy.cfg"),
        balancer_base=str(directory / "haproxy" / "base.cfg"),
        smtp_host=LOOPBACK,
        smtp_port=ports.smtp,
        prometheus_url=f"http://{LOOPBACK}:{ports.prometheus}",
        metrics_port=ports.metrics,
        audit=chosen.audit or str(directory / "audit"),
        audit_key=chosen.audit_key or str(directory / "audit-key" / "log.ed25519"),
        origin=chosen.origin or ORIGIN,
        marks=chosen.marks or str(directory / "marks"),
        permit_seconds=seconds,
        witnesses=chosen.witnesses,
        remote_write=f"{LOOPBACK}:{ports.remote_write}",
        alertmanager_url=_alertmanager(ports, chosen),
        backups=str(directory / "backups") if chosen.backups is None else chosen.backups,
        clock=chosen.clock,
        ceph=chosen.ceph,
    )


def with_movable_clock(directory: Path, chosen: Kept) -> Kept:
    """The house is one whose clock can be moved, from its founding on; `ClockError` where it was founded otherwise."""
    if chosen.clock:
        return chosen
    if (directory / "bus").exists():
        raise ClockError(
            f"The house {directory} was founded with the machine's clock and keeps it: what it holds may be somebody's work. Name "
            f"another directory in ${VARIABLE} for a house whose clock can be moved. Nothing was started.",
            "ClockFixed",
        )
    file = directory / "clock"
    move(file, dt.timedelta())
    return msgspec.structs.replace(chosen, clock=str(file))


def _alertmanager(ports: Ports, chosen: Kept) -> str:
    """An operator's own, else the one that is started here, else none."""
    if chosen.alertmanager_url and not chosen.alertmanager_url.startswith(_OWN):
        return chosen.alertmanager_url
    return f"{_OWN}{ports.alertmanager}" if alertmanager.installed() else ""


def has_own_alertmanager(house: House) -> bool:
    """Whether the house silences alerts in an Alertmanager that is started with it."""
    return house.alertmanager_url.startswith(_OWN)


def begin(directory: Path, origin: str, witnesses: tuple[str, ...] = ()) -> None:
    """A house that was never up here has a description: whose log it keeps, and who witnesses it. One that is there stays.

    The first start writes the ports and hosts.
    """
    if not (directory / FILE).exists():
        templates = str(short_directory(directory) / "templates")
        chosen = Kept(origin=origin, witnesses=witnesses)
        write(describe(directory, Ports.usual(), templates, (), chosen))


def write(house: House) -> None:
    """The description lies in the house's directory, whole, and does after a power cut."""
    durable.write(Path(house.directory) / FILE, msgspec.json.format(msgspec.json.encode(house)), mode=0o644)
