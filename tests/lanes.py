"""Two processes for one run: real parts have one to themselves, and what only computes goes beside them.

Seams wait more than they compute, and would break one another's deadlines if they all ran at once: so they are one lane, in their own order. The other lane
begins with a few seams that mostly wait, and boot no guest; then come all tests without real parts, and yield the processor.
"""

import os
from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

_FIRST: Final = "tests/seams/"
SECOND: Final = frozenset(
    f"{_FIRST}{name}.py"
    for name in (
        "test_audit_bus",
        "test_audit_damage",
        "test_audit_docs",
        "test_audit_exports",
        "test_contract_life",
        "test_lab_alertmanager",
        "test_lab_balancer",
        "test_mail",
        "test_prometheus",
        "test_remote_write",
        "test_sealer",
        "test_silences",
        "test_silences_refused",
    )
)
"""Seams of the second lane: they wait for Prometheus to look around, for a contract to end, for commands to start. None boots a
guest: guests of two processes would want the same ports."""

_NICE: Final = 10
"""By how much a test without real parts yields: where both cores are wanted, the seams' parts get nine tenths of one."""

_yields = pytest.StashKey[bool]()


class Lanes(LoadScopeScheduling):
    """The seams are handed out as two pieces, one to each process, and all else file by file, so that what a file shares is made once."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # as `in_turn` has them: each process has its seams first

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", maxsplit=1)[0]
        return ("seams", "seams beside them", file)[turn(file)]


def in_turn(items: list[pytest.Item]) -> None:
    """The seams of each lane come first, in their order; for one of several processes."""
    items.sort(key=lambda item: turn(item.nodeid.split("::", maxsplit=1)[0]))


def yield_to_seams(item: pytest.Item) -> None:
    """From its first test without real parts on, the process yields the processor to those that have some."""
    stash = item.config.stash
    if hasattr(item.config, "workerinput") and not item.nodeid.startswith(_FIRST) and _yields not in stash:
        stash[_yields] = True
        os.nice(_NICE)


def turn(file: str) -> int:
    """0 for the seams of the first lane, 1 for those of the second, 2 for what only computes."""
    return 1 if file in SECOND else 0 if file.startswith(_FIRST) else 2
