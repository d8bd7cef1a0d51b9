"""`virtscale vm adopt`: domains that somebody else made, as they would be in a pool; and one of them taken over."""

from pathlib import Path
from typing import Final

from schemas.house import HostPlace, House
from schemas.image import image_of
from schemas.limits import amount
from schemas.pool import PoolError
from schemas.pool import read as read_pool
from schemas.template import DOMAIN
from schemas.vm_intake import AdoptVm
from services.storage.claims import directories
from virtscale.ask import new_key
from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND, EXIT_REFUSED
from virtscale.invocation import UsageError, here, now_in
from virtscale.show import Format, say, show
from virtscale.vms import asking
from virtscale.vms.foreigners import Candidate, Wanted, candidates

_EFI: Final = ("firmware='efi'", 'firmware="efi"', "pflash")


def wanted(house: House, into: tuple[str, str], domain: str, vm: str) -> Wanted:
    """What the command names, as it is written down in the house; `UsageError` where it is not there, or keeps no VMs."""
    org, name = into
    file = Path(house.pools) / f"{org}.{name}.toml"
    try:
        pool = read_pool(file.read_text())
    except FileNotFoundError:
        raise UsageError(f"The house has no pool {org}/{name}: {file} would say what it is.") from None
    except PoolError as error:
        raise UsageError(f"{file} cannot be read: {error}") from None
    if pool.kind != "kept":
        raise UsageError(
            f"The pool {org}/{name} makes its VMs itself, with demand: name one whose kind is kept."
        )
    if pool.storage == "ceph" and house.ceph is None:
        raise UsageError(
            f"The pool {org}/{name} keeps its disks in Ceph, and the house names no cluster: name one as `ceph` in its description, or "
            "take another pool."
        )
    template = Path(house.templates) / pool.template
    described = (template / DOMAIN).read_text() if (template / DOMAIN).exists() else ""
    uefi = any(word in described for word in _EFI)
    return Wanted(pool, image_of(template).kind, uefi, now_in(here()), domain, vm, directories(house))


def place_of(house: House, host: str) -> HostPlace:
    """The host; `UsageError` where the house has none of this name."""
    found = next((one for one in house.hosts if one.name == host), None)
    if found is None:
        known = ", ".join(one.name for one in house.hosts) or "none"
        raise UsageError(f"The house has no host {host}; it has {known}.")
    return found


def show_candidates(place: HostPlace, what: Wanted, form: Format) -> int:
    """Each domain that is not ours, with what would become of it; the exit code. Nothing is asked."""
    found = candidates(place, what)
    if form == "json":
        show([_row(one) for one in found], form)
        return EXIT_DONE
    if not found:
        say(f"Host {place.name} has no domain {what.domain or 'at all'} that is not ours.")
        return EXIT_NOT_FOUND if what.domain else EXIT_DONE
    show(
        [
            {
                **_row(one),
                "size": f"{one.vcpu} vCPU, {one.memory_mib} MiB",
                "disk": amount(one.disk_bytes) if one.disk_bytes else "-",
                "adoptable": "no: " + "; ".join(why.text for why in one.obstacles)
                if one.obstacles
                else "yes",
            }
            for one in found
        ],
        form,
        columns=["domain", "state", "vm", "size", "disk", "adoptable"],
    )
    return EXIT_DONE


def adopt(  # noqa: PLR0917 - what the command says
    house: House,
    place: HostPlace,
    what: Wanted,
    actor: str,
    reason: str,
    deadline_seconds: float,
    form: Format,
) -> int:
    """The domain that is meant is the pool's VM, or it is said why it is not; the exit code."""
    found = candidates(place, what)
    if not found:
        say(
            f"Host {place.name} has no domain {what.domain} that is not ours: --dry-run lists them. Nothing was asked."
        )
        return EXIT_NOT_FOUND
    (one,) = found
    if one.obstacles:
        for why in one.obstacles:
            say(f"{one.domain} ({why.code}): {why.text}.")
        say("Nothing was asked, and nothing was changed.")
        return EXIT_REFUSED
    request = AdoptVm(
        pool=what.pool.name,
        vm=one.vm,
        key=new_key(),
        actor=actor,
        reason=reason,
        host=place.name,
        domain=one.domain,
        uuid=one.uuid,
        size=one.size,
        disk=one.disk,
        disk_bytes=one.disk_bytes,
    )
    return asking.ask(house, what.pool.org, request, deadline_seconds, form)


def _row(one: Candidate) -> dict[str, object]:
    return {
        "domain": one.domain,
        "uuid": one.uuid,
        "state": one.state,
        "vm": one.vm,
        "vcpu": one.vcpu,
        "memory_mib": one.memory_mib,
        "disk": one.disk,
        "disk_bytes": one.disk_bytes,
        "obstacles": [{"code": why.code, "text": why.text} for why in one.obstacles],
    }
