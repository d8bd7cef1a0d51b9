"""Ledgers that earlier programs wrote, as they wrote them, and what is made of them: views and root.

`ledgers/NAME.log` has a line for each message: sequence, stored time in nanoseconds, subject, message id and payload, with a
blank between. `ledgers/NAME.json` has the digests of all tables built from it, and the root of its audit tree. Neither is ever
written again; a table that was purposely changed gets its new digest by hand, in a commit that says why. A new ledger needs its
`.log` alone: `python -m tests.logs.golden` writes what is missing, and names what differs.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from events.stored import Stored
from events.tlog.leaf import entry, leaf_hash
from events.tlog.tree import Frontier
from projections.keeper import TABLES
from replay.views.rebuild import rebuild

LEDGERS: Final = Path(__file__).parent / "ledgers"
_GROUP: Final = 50

Made = dict[str, object]
"""What is made of a ledger: `root`, and under `tables` by name the columns, how many rows, and their digest."""


class Kept:
    """A ledger of these messages, to read from."""

    def __init__(self, messages: list[Stored]) -> None:
        self._messages = messages

    async def last(self) -> int:
        """The last sequence."""
        return len(self._messages)

    async def read(self, first: int, last: int) -> AsyncGenerator[list[Stored]]:
        """The messages in groups."""
        for start in range(first - 1, last, _GROUP):
            yield self._messages[start : min(last, start + _GROUP)]


def messages(path: Path) -> list[Stored]:
    """The messages of a `.log` file."""
    read: list[Stored] = []
    for line in path.read_bytes().splitlines():
        seq, stored_ns, subject, id_, payload = line.split(b" ", 4)
        read.append(Stored(int(seq), int(stored_ns), subject.decode(), id_.decode(), payload))
    return read


async def made(ledger: list[Stored]) -> Made:
    """What today's program makes of the ledger."""
    frontier = Frontier()
    for stored in ledger:
        frontier.add(leaf_hash(entry(stored)))
    with tempfile.TemporaryDirectory() as directory:
        digest = await rebuild(Kept(ledger), Path(directory) / "views.db")
    columns = {table.name: table.columns for table in TABLES}
    return {
        "root": frontier.root().hex(),
        "tables": {
            one.table: {"columns": list(columns[one.table]), "rows": one.rows, "digest": one.digest}
            for one in digest.tables
        },
    }


def differences(kept: Made, now: Made) -> list[str]:
    """What was made of the ledger and is made otherwise today, one sentence each. A table that is new is no difference."""
    then, today = kept["tables"], now["tables"]
    assert isinstance(then, dict)
    assert isinstance(today, dict)
    found = [
        f"Table {name}: {today.get(name, 'gone')}, but it was {table}."
        for name, table in then.items()
        if today.get(name) != table
    ]
    if kept["root"] != now["root"]:
        found.append(f"The root of the audit tree is {now['root']}, but it was {kept['root']}.")
    return found


async def _main() -> int:
    code = 0
    for log in sorted(LEDGERS.glob("*.log")):
        path, now = log.with_suffix(".json"), await made(messages(log))
        if path.exists():
            found = differences(json.loads(path.read_text(encoding="utf-8")), now)
            code |= bool(found)
            print(*(f"{log.stem}: {one}" for one in found or ["as it was."]), sep="\n")
        else:
            path.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
            print(f"{log.stem}: {path.name} written.")
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
