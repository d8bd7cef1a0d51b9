"""What docs/audit.md shows is what is said: its commands run one after another, by us, by Python alone and by Go."""

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from events.tlog.files import DirectoryFiles
from events.tlog.reader import Archive
from tests.seams.house import ROOT, House
from tests.seams.test_other_verifiers import built
from tests.seams.test_readme import masked
from tests.support import eventually

PAGE = ROOT / "docs" / "audit.md"
COMMAND_SECONDS = 45.0
SEALED_SECONDS = 10.0
ID = re.compile(r"\b[0-9a-f]{32}\b")
PROOF = re.compile(r"\b\d+(?=\.(?:tlog-proof|entry)\b)")


def transcripts() -> Iterator[tuple[str, list[str]]]:
    """Each command of the page with the lines that it is said to answer."""
    for block in re.findall(r"^```\n(\$ .*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = part.splitlines()
            yield command, lines


MASKS = (
    (r"(?<=\d),(?=\d{3})", ""),
    (r"\+[0-9a-f]{8}\b", "+KEY"),
    # How much there is beside what the page is about depends on what the house has seen before.
    (r" In (at least )?\d+ more bundles? something does not fit\.", ""),
)


def plain(line: str) -> str:
    """The line without what differs from house to house: numbers, ids, how much else there is."""
    for pattern, instead in MASKS:
        line = re.sub(pattern, instead, line)
    return masked(line)


class Shell:
    """Runs the page's commands in a directory of its own; what the page calls X is here what came in X's place."""

    def __init__(self, house: House, directory: Path) -> None:
        self._house = house
        self._directory = directory
        self._here: dict[str, str] = {}

    async def run(self, command: str) -> str:
        for there, here in self._here.items():
            command = command.replace(there, here)
        for there, here in [
            (r"^virtscale ", f"{Path(sys.executable).with_name('virtscale')} "),
            (r"^python docs/", f"{sys.executable} -I {ROOT}/docs/"),
            (r"^\./verifier ", f"{built()} "),
            (r"(?<= )\.virtscale/", f"{self._house.directory}/"),
        ]:
            command = re.sub(there, here, command)
        process = await asyncio.create_subprocess_shell(
            command,
            cwd=self._directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                **os.environ,
                "VIRTSCALE_HOUSE": str(self._house.directory),
                "NO_COLOR": "1",
                "COLUMNS": "200",
                "LC_ALL": "C.UTF-8",
            },
        )
        out, _ = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS)
        return out.decode()

    def learn(self, shown: list[str], said: list[str]) -> None:
        """The ids and names of proofs in a line of the page stand for those in the line that was said."""
        for line in shown:
            for other in said:
                if plain(line) == plain(other):
                    for what in (ID, PROOF):
                        self._here |= dict(zip(what.findall(line), what.findall(other), strict=True))


async def sealed(house: House) -> None:
    """Everything that the bus holds is under the checkpoint, but for the sealer's own word on an earlier one."""
    operator = await house.world.connect("operator")
    files = DirectoryFiles(Path(house.world.house.audit))

    async def all_of_it() -> bool:
        size = Archive(files).size
        behind = await operator.read(size + 1, await operator.last())
        return size > 0 and all(stored.subject.endswith(".ledger.sealed") for stored in behind)

    try:
        await eventually(all_of_it, SEALED_SECONDS, every_seconds=0.05, why="the ledger is not sealed")
    finally:
        await operator.close()


@pytest.mark.asyncio(loop_scope="session")
async def test_every_command_of_the_audit_page_answers_as_the_page_says(world: House, tmp_path: Path) -> None:
    shell, shown = Shell(world, tmp_path), list(transcripts())
    assert len(shown) >= 13
    for command, lines in shown:
        if command.startswith("virtscale"):
            await sealed(world)
        out = await shell.run(command)
        said = out.splitlines()
        shell.learn(lines, said)
        known = {plain(line) for line in said}
        missing = [line for line in lines if plain(line) not in known]
        assert missing == [], f"`{command}` said otherwise:\n{out}"
