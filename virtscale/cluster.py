"""A house's Ceph cluster: one that an operator named, or the lab's own, which is started with the house and gone with it."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lab.ceph import Ceph
from lab.part import OnChange
from schemas.house import FILE, CephPlace, HouseError

_OWN: Final = Path("ceph", "ceph.conf")
"""Where the house's own cluster has its configuration, in the house."""


def chosen(directory: Path, former: str | None, named: CephPlace | None, *, own: bool) -> CephPlace | None:
    """The cluster that the house has from this start on; None where it has none.

    `named` is what its description says, as it lay in `former`. One of the house's own ended with the house's last life, so it is not
    there unless it is asked for again. Raises `HouseError`.
    """
    path = directory / FILE
    if named is not None and named.conf in {str(Path(one) / _OWN) for one in (directory, former) if one}:
        named = None
    if named is not None and not Path(named.conf).is_absolute():
        raise HouseError(
            f"{path} has the Ceph configuration {named.conf!a:.90}: write an absolute path. Nothing was started."
        )
    if own and named is not None:
        raise HouseError(
            f"{path} names the Ceph cluster of {named.conf} already: start without --ceph to use it, or take it out of there for one "
            "of the house's own. Nothing was started."
        )
    return CephPlace(str(directory / _OWN)) if own else named


def is_own(directory: Path, place: CephPlace | None) -> bool:
    """Whether the cluster is the house's own."""
    return place is not None and place.conf == str(directory / _OWN)


class OwnCluster:
    """The lab's Ceph in a house: three zones on this machine, empty at each start."""

    def __init__(self, directory: Path, say: Callable[[str], None], on_change: OnChange) -> None:
        self._directory = directory / _OWN.parent
        self._say = say
        self._on_change = on_change
        self._ending = False
        self.ceph = Ceph(self._directory, on_change=self._changed)
        self._starting: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """The cluster is starting, beside whatever else is started. Call `stop` in any case."""
        self._starting = asyncio.create_task(self._start(), name="ceph")

    async def ready(self) -> None:
        """The cluster is healthy."""
        assert self._starting is not None
        await self._starting
        self._say(f"Ceph of three zones at {self.ceph.monitor}, configured in {self.ceph.conf}")

    async def _start(self) -> None:
        await asyncio.to_thread(
            shutil.rmtree, self._directory, ignore_errors=True
        )  # of a life that was cut short
        await self.ceph.start()

    async def stop(self) -> None:
        """The cluster is gone, with all that was in it."""
        self._ending = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)  # who waited for it was told
        try:
            await self.ceph.stop()
        finally:
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)

    def _changed(self, name: str, text: str) -> None:
        if not self._ending:  # in the end its parts are killed, which is quicker
            self._on_change(name, text)
