"""What signal tells of pools' demand every 15 s, outside the ledger: one message per org and tick."""

from typing import Annotated, Final

import msgspec

from schemas.names import Name
from schemas.struct import Value

TICK_SECONDS: Final = 15
"""A tick is as many seconds of Unix time, and has their number: tick n begins n x 15 s after 1970-01-01 00:00 UTC."""

MOST_POOLS: Final = 200
"""In one message, some 10 KB; an org with more pools has several messages a tick."""

MOST_MILLI_VMS: Final = 100_000_000
"""100,000 VMs: no pool may have more."""


class PoolTold(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A pool's demand in one tick, as `[pool, milli_vms, samples, newest_unix_ms]`: a fifth of the bytes that names would take."""

    pool: Name
    milli_vms: Annotated[int, msgspec.Meta(ge=0, le=MOST_MILLI_VMS)]
    """Mean of the tick's samples, in thousandths of a VM."""
    samples: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    newest_unix_ms: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    """When the newest of them was measured."""


class Told(Value, frozen=True):
    """The demand of an org's pools in one tick. A pool without a sample is not in it: silence is no zero."""

    tick: Annotated[int, msgspec.Meta(ge=0, le=2**40)]
    pools: Annotated[tuple[PoolTold, ...], msgspec.Meta(min_length=1, max_length=MOST_POOLS)]
