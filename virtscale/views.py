"""Reading the views: each command asks the projections' file and nothing else."""

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from schemas.house import HouseError
from virtscale.crew import VIEWS

Row = dict[str, str | int | float | None]

POOLS: Final = """
SELECT pools.org, pools.pool, pools.size,
       count(vms.vm) AS vms,
       sum(CASE WHEN vms.state = 'serving' THEN 1 ELSE 0 END) AS serving,
       sum(CASE WHEN vms.state IN ('quiesced', 'saving') THEN 1 ELSE 0 END) AS quiesced,
       sum(CASE WHEN vms.state = 'saved' THEN 1 ELSE 0 END) AS saved,
       sum(CASE WHEN vms.state IN ('waking', 'booting', 'warm') THEN 1 ELSE 0 END) AS coming,
       sum(CASE WHEN vms.state IN ('draining', 'drained', 'suspending') THEN 1 ELSE 0 END) AS leaving,
       sum(CASE WHEN vms.state IN ('stopped', 'stopping', 'unready', 'unannounced', 'stray') THEN 1 ELSE 0 END)
         AS other,
       (SELECT max(until) FROM freezes
        WHERE freezes.org = pools.org AND freezes.pool IN (pools.pool, '')
          AND until > strftime('%Y-%m-%dT%H:%M:%f', 'now')) AS frozen_until
FROM pools LEFT JOIN vms ON vms.org = pools.org AND vms.pool = pools.pool
GROUP BY pools.org, pools.pool ORDER BY pools.org, pools.pool
"""

VMS: Final = """
SELECT org, vm, pool, host, state, size, address, boot_id, overdue, since_seq FROM vms
ORDER BY org, pool, length(vm), vm
"""

USAGE: Final = """
SELECT org, dimension, used, reserved, quota, "limit", allowance_bp, contract, version, owner, valid_until
FROM usage ORDER BY org, dimension DESC
"""

HOSTS: Final = """
SELECT host, state, awake, asleep, saved, free_mib, memory_mib, substrate, uri FROM hosts ORDER BY host
"""

SNAPSHOTS: Final = """
SELECT volumes.org, vms.pool, volumes.vm, vms.state, volumes.host, volumes.taken_at, volumes.pinned_since, volumes.layers,
       volumes.snapshot, volumes.volume, volumes.template, volumes.size_bytes, volumes.trouble
FROM volumes LEFT JOIN vms ON vms.org = volumes.org AND vms.vm = volumes.vm
ORDER BY volumes.org, vms.pool, length(volumes.vm), volumes.vm
"""

PERMISSIONS: Final = """
SELECT org, holder, permission, actor, reason, granted_at FROM permissions ORDER BY org, holder, permission
"""

FREEZES: Final = """
SELECT org, pool, until, actor, reason, frozen_at FROM freezes WHERE until > ? ORDER BY org, pool
"""

CONTRACTS: Final = """
SELECT org, id, version, state, fingerprint, accepted_at, effective_at, valid_from, valid_until, signed_by, voided_at,
       code, text, signatures
FROM contracts ORDER BY org, valid_from, version, effective_at
"""

SIGNING_KEYS: Final = """
SELECT org, key, state, registered_at, former, ended_at, actor, reason FROM signing_keys
ORDER BY org, registered_at, key
"""

REQUEST: Final = "SELECT * FROM requests WHERE id LIKE ? || '%' LIMIT 2"

ACTIVATION: Final = "SELECT * FROM activations WHERE \"order\" LIKE ? || '%' LIMIT 2"

ACTIVATIONS_OF: Final = "SELECT * FROM activations WHERE request = ? ORDER BY vm"


STEPS: Final = """
SELECT l1_ms AS L1, l2_ms AS L2, l3_ms AS L3, l4_ms AS L4, l5_ms AS L5, total_ms AS total
FROM activations WHERE stage = 'serving' AND way = 'resume'
"""


@contextmanager
def opened(directory: Path) -> Generator["Views"]:
    """The views of the house, until the block ends."""
    views = Views(directory)
    try:
        yield views
    finally:
        views.close()


class Views:
    """The views of one house, as of the sequence they were last committed at; read-only."""

    def __init__(self, directory: Path) -> None:
        path = directory / VIEWS
        if not path.exists():
            raise HouseError(f"There are no views in {directory}: start the house with `make up`.")
        self._base = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
        self._base.row_factory = sqlite3.Row

    def rows(self, query: str, arguments: Sequence[str] = ()) -> list[Row]:
        """The rows of one of the queries above, by column name."""
        return [dict(row) for row in self._base.execute(query, tuple(arguments))]

    def close(self) -> None:
        """The file is closed."""
        self._base.close()
