"""The day in memory: simulated guests and time that jumps, around the same workers. 24 hours take seconds."""

import asyncio
import datetime as dt
import logging
from pathlib import Path
from typing import Final

from events.bus import permissions
from events.bus.ledger import Ledger
from events.bus.telemetry import Telemetry
from events.stored import Stored
from events.tlog import checkpoint
from events.tlog.checkpoint import Checkpoint
from events.tlog.files import DirectoryFiles
from events.tlog.leaf import entry
from events.tlog.note import Signer
from events.tlog.writer import TileWriter
from projections.fleet.fold import Fleet
from projections.usage.fold import Usage
from schemas.intake import Stock
from schemas.telemetry import PoolTold, Told
from virtscale import founding
from virtscale.ask import publish
from virtscale.demo import setting
from virtscale.demo.day import DAY_SECONDS, FORMER_DAYS, TICK_SECONDS, Piece, former, noise
from virtscale.demo.looks import count, look
from virtscale.demo.news import News
from virtscale.demo.said import beginning, ending
from virtscale.demo.screen import Screen
from virtscale.demo.units import Units
from virtscale.demo.wakes import Wakes
from virtscale.demo.written import write_page
from virtscale.exits import EXIT_DONE, EXIT_INTERRUPTED
from virtscale.twin.clock import VirtualClock, VirtualLoop, pause
from virtscale.twin.house import TwinHouse, signing_key

MIDNIGHT: Final = dt.datetime(2026, 1, 28, tzinfo=dt.UTC)
"""The day that is played, whatever day it is: so that each run of one curve is the same, to the byte."""

BEFORE_SECONDS: Final = 1800.0

SAMPLE_NOISE: Final = 0.03
_SPARE_MIB: Final = 1024
_TELL_SECONDS: Final = 0.001
_QUIET_SECONDS: Final = 30.0
"""What was told two ticks before the forecaster begins is its past, and not something that somebody brings in just now."""

_ORIGIN: Final = "twin.virtscale.local/day"


class Twin:
    """One run."""

    def __init__(
        self,
        piece: Piece,
        loop: VirtualLoop,
        screen: Screen,
        *,
        history_days: int = FORMER_DAYS,
        before_seconds: float = BEFORE_SECONDS,
    ) -> None:
        """The house is founded and stocked `before_seconds` before the piece begins."""
        self._piece = piece
        self._screen = screen
        self._history_days, self._before_seconds = history_days, before_seconds
        self._began_at = MIDNIGHT + dt.timedelta(seconds=piece.from_second)
        epoch = self._began_at - dt.timedelta(seconds=before_seconds)
        self._clock = VirtualClock(loop, epoch)
        self._ledger: Ledger | None = None
        vms = piece.vms
        values = {setting.DEMAND: self._demand, setting.EACH: self._each}
        pool = setting.simulated(vms, setting.horizon_seconds(piece.speed))
        self.house = TwinHouse(self._clock, pool, vms * setting.MEMORY_MIB + _SPARE_MIB, values)
        self.units = Units()

    @property
    def stored(self) -> list[Stored]:
        """The ledger, as far as it came."""
        return list(self.house.server.ledger.messages)

    def _demand(self, at: dt.datetime) -> float:
        vms = self._piece.vms_at((at - self._began_at).total_seconds())
        return vms * setting.PER_VM * (1 + SAMPLE_NOISE * noise("sample", at.isoformat()))

    def _each(self, at: dt.datetime) -> float:
        serving = 0
        if self._ledger is not None:
            serving = len(self._ledger.fold(Fleet).members(founding.ORG, setting.POOL, "serving"))
        return self._demand(at) / max(1, serving)

    async def live(self) -> None:
        """The piece went by."""
        piece, before, loop = self._piece, self._before_seconds, asyncio.get_running_loop()
        await self._tell_history()
        self._screen.plain(
            f"telemetry: {self._history_days} former days were made up from the same curve; the forecaster learns them first"
        )
        await pause(_QUIET_SECONDS)
        async with self.house.at_work((News, Wakes, Fleet, Usage)) as ledger:
            self._ledger = ledger
            await self.house.enact(setting.signed_text(piece.vms, self._clock.now()))
            operator = self.house.connect(permissions.operator())
            stock = Stock(pool=setting.POOL, key="twin-stock", vms=piece.vms, wait=True)
            await publish(operator, founding.ORG, stock)
            await pause(before - loop.time())
            second = 0
            while second < piece.seconds:
                count(ledger, piece, second, self.units)
                if self._screen.due(piece.day_second(second)):
                    self._screen.show(look(ledger, piece, second, self.units, None))
                second += 1
                await pause(before + second - loop.time())

    async def _tell_history(self) -> None:
        telemetry = Telemetry(self.house.connect(permissions.worker("signal")))
        last = int(self._clock.now().timestamp()) // TICK_SECONDS
        first = last - self._history_days * DAY_SECONDS // TICK_SECONDS
        for tick, milli_vms in former(self._piece, self._began_at):
            if first <= tick < last:
                told = PoolTold(setting.POOL, milli_vms, 3, (tick + 1) * TICK_SECONDS * 1000 - 1)
                await telemetry.tell(founding.ORG, Told(tick, (told,)))
                await pause(_TELL_SECONDS)


def play(piece: Piece, directory: Path, screen: Screen) -> int:
    """The piece went by in virtual time; Ctrl-C ends it early. The report is of what there was."""
    for sentence in beginning(piece):
        screen.plain(sentence)
    directory.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.WARNING, filename=directory / "virtscale.log")
    loop = VirtualLoop()
    twin, code = Twin(piece, loop, screen), EXIT_DONE
    try:
        loop.run_until_complete(twin.live())
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    finally:
        screen.leave()
        loop.end()
    for line in ending(twin.units):
        screen.plain(line)
    audit = DirectoryFiles(directory / "audit")
    _seal(audit, twin.stored)
    screen.plain(asyncio.run(write_page(directory, audit, None)))
    screen.plain(
        f"the ledger is in {directory / 'audit'}; read it with: virtscale replay trace --from {directory / 'audit'}"
    )
    return code


def _seal(files: DirectoryFiles, stored: list[Stored]) -> None:
    """The ledger is an archive, sealed by the twin's own key, which proves nothing to anybody."""
    signer = Signer(_ORIGIN, signing_key("log"))
    writer = TileWriter(files)
    for one in stored:
        writer.add(entry(one))
    note = checkpoint.signed(Checkpoint(_ORIGIN, writer.size, writer.frontier.root()), signer)
    writer.commit(note)
    files.write("vkey", f"{signer.vkey}\n".encode())
