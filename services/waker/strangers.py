"""Domains at rest that bear our mark and belong to no VM: said once, counted, and left alone, since nobody knows who may want them.

Such as one of a VM whose name was free again before its host came back. One that runs counts, and is found awake.
"""

import logging
from collections.abc import Iterable
from typing import Final

from projections.directory.fold import Directory
from projections.fleet.fold import Fleet
from services.waker.metrics import STRANGERS
from services.waker.port import Domain, Unknown
from services.waker.state import Key

_MOST_NAMED: Final = 1000
"""Of one host; those beyond are counted alone."""

log = logging.getLogger("virtscale.waker")


class Strangers:
    """One waker's word for domains of nobody's."""

    def __init__(self, fleet: Fleet, directory: Directory, host: str) -> None:
        self._fleet = fleet
        self._directory = directory
        self._host = host
        self._named: set[str] = set()

    def tell(self, listed: Iterable[Domain | Unknown]) -> None:
        """Whoever reads the log or the metrics knows of them. `listed` is what was just seen."""
        found = [
            one
            for one in listed
            if isinstance(one, Domain) and one.state != "running" and not self._is_known((one.org, one.vm))
        ]
        STRANGERS.labels(self._host).set(len(found))
        for one in found:
            if one.name not in self._named and len(self._named) < _MOST_NAMED:
                self._named.add(one.name)
                log.warning(
                    "host %s: the domain %s bears our mark, is %s, and belongs to no VM; nothing is done to it: undefine it if nobody wants it",
                    self._host,
                    one.name,
                    one.state,
                )

    def _is_known(self, key: Key) -> bool:
        """Whether there is such a VM, or was and its name is not free yet, or is to be one."""
        directory = self._directory
        known = key in directory.vms or key in directory.departed or key in directory.adopting
        return known or key in self._fleet.vms
