"""The intake and the gate in one process, on one reader of the ledger, as `make up` runs them; until SIGTERM."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

import uvloop

from schemas.house import load
from virtscale import crew


async def _work(house: Path) -> None:
    await crew.run(load(house), lambda _: None, ("signal", "gate"), views=False)


def main() -> None:
    """The two work until they are ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--house", type=Path, required=True)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(parser.parse_args().house))


if __name__ == "__main__":
    main()
