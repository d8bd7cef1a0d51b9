"""`virtscale demo day` from the first line to the last: played, or ended with Ctrl-C, what there is of it is told."""

import asyncio
import logging
import signal
import time
from pathlib import Path

from events.tlog.files import DirectoryFiles
from virtscale.demo.live import Plan, Played, play
from virtscale.demo.said import beginning, sentences
from virtscale.demo.screen import Screen
from virtscale.demo.written import write_clients, write_page
from virtscale.exits import EXIT_DONE, EXIT_INTERRUPTED


async def run(plan: Plan, screen: Screen) -> int:
    """The piece was played and its report is written; Ctrl-C or SIGTERM ends it early, and the report is of what was."""
    plan.directory.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.WARNING,
        filename=plan.directory / "virtscale.log",
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for sentence in beginning(plan.piece):
        screen.plain(sentence)
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    played = Played()
    life = asyncio.create_task(play(plan, played, screen), name="day")
    waiting = asyncio.create_task(asked.wait(), name="Ctrl-C")
    await asyncio.wait({life, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    ended_early = not life.done()
    screen.leave()
    if ended_early:
        screen.say("stopping")
        life.cancel()
    try:
        await life
    except asyncio.CancelledError:
        if not ended_early:
            raise
    screen.say("everything that was started is gone")
    await _tell(plan, played, screen)
    return EXIT_INTERRUPTED if ended_early else EXIT_DONE


async def _tell(plan: Plan, played: Played, screen: Screen) -> None:
    """The report lies in the plan's directory, and its sum is on the screen."""
    seen = played.told(plan.source)
    if seen is not None:
        for sentence in sentences(seen):
            screen.plain(sentence)
        screen.plain(f"{write_clients(plan.directory, seen)}: what the users saw")
    audit = plan.house / "audit"
    screen.plain(await write_page(plan.directory, DirectoryFiles(audit), seen))
    screen.plain(f"the ledger stays in {plan.house}; read it with: virtscale replay trace --from {audit}")


def directory_of(parent: Path) -> Path:
    """A new name below the directory, which sorts by time."""
    return parent / f"demo-day-{time.strftime('%Y%m%d-%H%M%S')}"
