"""The house: where the parts of one installation are. `house.json` in its directory says it to every worker."""

from pathlib import Path
from typing import Final

import msgspec

from schemas.names import Name
from schemas.struct import Value

VARIABLE: Final = "VIRTSCALE_HOUSE"
"""The environment variable that names the house's directory."""

USUAL: Final = ".virtscale"
"""The house's directory when nothing names one."""

FILE: Final = "house.json"
"""Where a house's description lies in its directory."""


class HostPlace(Value, frozen=True):
    """One hypervisor: its libvirt URI, what substrate runs there, and the memory it lends to guests."""

    name: Name
    uri: str
    substrate: str
    memory_mib: int
    first_port: int
    """Guests of this host answer on ports from here on."""
    ports: int = 4096
    """As many ports are its guests': the ranges of two hosts with one address must not meet."""
    address: str = "127.0.0.1"
    """Where its guests' ports are reached from prober and load balancer: loopback on one machine, else the host's own."""
    volumes: str = ""
    """The directory on that host where its VMs' disks are made; without one no VM of a template with a disk starts there."""


class CephPlace(Value, frozen=True):
    """A Ceph cluster for the disks of kept VMs, as a client on this machine finds it. Nothing in here is a secret."""

    conf: str
    """The cluster's `ceph.conf`; it says where the monitors are, and where the user's keyring lies."""
    user: str = "client.admin"
    """One who may make pools and users there: storage is the only one that speaks as him."""


class House(Value, frozen=True):
    """Paths and addresses of one installation. All paths are absolute."""

    directory: str
    bus_url: str
    keys: str
    """Directory with one nkey seed file per worker, `<name>.nk`, mode 0600."""
    signing_keys: str
    """Directory with the signing keys that this machine has, `<org>.ed25519`, mode 0600; the provider's is `platform`."""
    contracts: str
    """Directory with contract files, `<org>.toml`."""
    pools: str
    """Directory with pool files, `<org>.<pool>.toml`."""
    templates: str
    """Directory with one directory per VM template."""
    vault: str
    hosts: tuple[HostPlace, ...]
    balancer_socket: str
    balancer_config: str
    balancer_base: str
    """The part of the balancer's configuration that the announcer does not own."""
    smtp_host: str
    smtp_port: int
    prometheus_url: str
    metrics_port: int
    """Where the workers' own metrics are, on loopback."""
    audit: str
    """Directory of the audit log: tiles, entries and checkpoints. On another disk than the bus's, it survives that one."""
    audit_key: str
    """The file with the key that signs checkpoints, mode 0600."""
    origin: str
    """Whose log it is, in every checkpoint: `ledger.<operator>/<cluster>`."""
    marks: str
    """Directory where each process notes how far it has read and acted, off the bus's disk."""
    permit_seconds: float = 0.0
    """How old the sealer's permit may be; when the sealer is silent for longer, nobody appends. 0 where nobody asks for one."""
    witnesses: tuple[str, ...] = ()
    """Where witnesses take checkpoints: the URL of each one's `add-checkpoint`, a space, and its public key (`name+hash+key`)."""
    remote_write: str = ""
    """Where signal takes the samples that a Prometheus pushes, as host:port; empty where it takes none."""
    alertmanager_url: str = ""
    """The Alertmanager where the alerts of deleted VMs are silenced; empty where there is none, and then nobody is to be silenced."""
    backups: str = ""
    """The directory of backups of VMs, `<org>/<vm>/<copy>.qcow2`, best on another disk than theirs; empty where none can be made."""
    clock: str = ""
    """The file that says by how many seconds the house's clock is ahead of the machine's; empty in every house but those that were
    founded for trying out what happens in weeks."""
    ceph: CephPlace | None = None
    """The cluster for pools with `storage = "ceph"`; without one their VMs get no disk."""


class HouseError(ValueError):
    """There is no house here, or its description cannot be read."""

    code = "HouseUnreadable"


def load(directory: Path) -> House:
    """The house in a directory, or `HouseError` that says how to make one."""
    path = directory / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=House)
    except FileNotFoundError:
        raise HouseError(f"There is no house in {directory}: start one with `make up`.") from None
    except msgspec.DecodeError as error:
        raise HouseError(f"{path} cannot be read: {error}.") from error
