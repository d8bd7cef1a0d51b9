"""The pools of a world, drawn by lot."""

from collections.abc import Callable
from typing import Any, Final

from schemas.capacity import Size
from schemas.pool import Pool, Trigger
from tests.simulation.chance import Chance, Plan
from tests.simulation.foresight import foreseen

KEPT_POOL: Final = "apps"

MIB: Final = 1 << 20

DISK_BYTES: Final = 64 * MIB
"""What the disk of a kept VM has where nobody says otherwise."""

SIZES: Final = (
    Size(name="small", vcpu=1, memory_mib=256),
    Size(name="medium", vcpu=2, memory_mib=512),
    Size(name="large", vcpu=3, memory_mib=512),
)


def kept_pool(org: str, **changes: Any) -> Pool:
    """A pool that keeps VMs, with guests that obey soon."""
    members: dict[str, Any] = {
        "size": SIZES[0],
        "template": "tiny",
        "profile": "lab",
        "disk_bytes": DISK_BYTES,
        "grace_seconds": 3,
        "order_seconds": 15,
        "boot_seconds": 20,
        "snapshots_kept": 2,
        "backups_kept": 2,
    }
    return Pool(org=org, name=KEPT_POOL, kind="kept", **members | changes)


def pool_of(plan: Plan, org: str, name: str, chance: Chance, chance_of: Callable[[str], Chance]) -> Pool:
    """One pool as the plan and chance have it; what was added later draws from streams of its own."""
    rng = chance.rng
    trigger = Trigger(query="load", above=0.8, samples=2, add=1) if rng.random() < 0.3 else None
    pool = Pool(
        org=org,
        name=name,
        size=rng.choice(SIZES),
        template="tiny",
        min_vms=rng.choice((0, 0, 1)),
        max_vms=rng.choice((4, 6, 100)),
        cooldown_seconds=30,
        drain_seconds=rng.choice(plan.drain_seconds),
        readiness_seconds=rng.choice(plan.readiness_seconds),
        order_seconds=rng.choice(plan.order_seconds),
        boot_seconds=rng.choice(plan.boot_seconds),
        wake_batch=chance_of(f"batch {org} {name}").rng.choice((1, 2, 8)),
        refresh=chance_of(f"refresh {org} {name}").rng.choice(("agent", "agent", "none")),
        triggers=() if trigger is None else (trigger,),
        placement=chance_of(f"placement {org} {name}").rng.choice(plan.placements),
    )
    return foreseen(pool, chance_of(f"foresight {org} {name}")) if plan.foresees else pool
