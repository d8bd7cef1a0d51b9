"""A page of the documentation whose commands are typed into a shell, one after the other, in a house of the test's own."""

import asyncio
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schemas.house import VARIABLE
from tests.seams.crew import ROOT
from tests.seams.test_readme import masked
from tests.support import eventually

COMMAND_SECONDS: Final = 120.0
LOOK_SECONDS: Final = 60.0

_BLOCK: Final = re.compile(r"^```\n(\$ .*?)^```", re.MULTILINE | re.DOTALL)
_NAMED: Final = re.compile(r"([A-Z]+)=(.*)", re.DOTALL)
_MORE: Final = "virtscale ledger "
"""What else happened is not shown: other pools are looked at as well, whenever that is."""
_LOOKS: Final = re.compile(
    r"(virtscale (vm (list|copies|deletions)|maintenance list|ledger tail)\b|virsh|qemu-img|rbd|ls|find|awk|grep|amtool)\b"
)
"""What only looks: the page shows what is there a moment later, when all that was asked for is done."""

MASKS: Final = (
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID"),
    (r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{12,64}\b", "ID"),
    (r"/\S*/", "/…/"),
    (r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b", "DAY"),
    (r"\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b", "MONTH"),
    (r"\b(CET|CEST)\b", "ZONE"),
    (r"\((\d{4}-\d\d-\d\d )?(\d\d:\d\d) UTC\)", r"(\2 UTC)"),  # the day in UTC, where it is another
    (r"(?:\b\d+ (?:d|h|min|s)\b *)+", "AGE "),
    (r"Decided by \S+ at", "Decided by GATE at"),
    (r"\+[0-9a-f]{8}\b", "+KEY"),
    (r"[\d,]+ events/s", "N events/s"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """A command of the page with the lines that it is said to answer."""

    command: str
    lines: tuple[str, ...]

    @property
    def looks(self) -> bool:
        """Whether it may be asked again until it shows what the page says."""
        return _LOOKS.match(self.command) is not None


def steps(text: str) -> list[Step]:
    """The page's commands in order; a block may hold several, each behind a `$`."""
    found: list[Step] = []
    for block in _BLOCK.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = part.splitlines()
            found.append(Step(command, tuple(line for line in lines if line.strip())))
    return found


def plain(line: str) -> str:
    """The line without what differs from run to run and from house to house."""
    for pattern, instead in MASKS:
        line = re.sub(pattern, instead, line)
    return masked(line)


@dataclass
class Shell:
    """Bash in the house, with what the page named so far."""

    house: Path
    named: dict[str, str] = field(default_factory=dict[str, str])

    async def run(self, command: str) -> str:
        """What the command wrote, on either stream, in order."""
        there = {
            name: value for name, value in os.environ.items() if name != "TZ"
        }  # else dates would be in that zone
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", command),
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                **there,
                **self.named,
                "PATH": path,
                VARIABLE: str(self.house),
                "NO_COLOR": "1",
                "COLUMNS": "200",
                "LC_ALL": "C.UTF-8",
            },
        )
        try:
            out, _ = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS)
        except TimeoutError:
            process.kill()
            out, _ = await process.communicate()
            raise AssertionError(f"{command} did not end: {out.decode()}") from None
        return out.decode()

    async def take(self, step: Step) -> str:
        """The step was taken and answered as the page says; what it wrote."""
        name = _NAMED.fullmatch(step.command)
        if name is not None:
            value = await self.run(f'{step.command}; printf %s "${name[1]}"')
            assert value.strip(), f"{step.command} is nothing"
            self.named[name[1]] = value
            return ""
        out = ""

        async def answered() -> bool:
            nonlocal out
            out = await self.run(step.command)
            return not lacks(step, out)

        if step.looks:
            why = f"`{step.command}` does not come to say so"
            try:
                await eventually(answered, LOOK_SECONDS, every_seconds=0.5, why=why)
            except AssertionError as error:
                error.add_note(f"it said:\n{out}\nand not: {lacks(step, out)}")
                raise
        else:
            assert await answered(), f"`{step.command}` said otherwise: {lacks(step, out)}\n{out}"
        return out


def lacks(step: Step, out: str) -> list[str]:
    """The page's lines that it did not write, and those that it wrote and the page does not show."""
    shown = {plain(line): line for line in step.lines}
    said = {plain(line): line for line in out.splitlines() if line.strip()}
    more = {} if step.command.startswith(_MORE) else said
    return [line for one, line in (shown | more).items() if not (one in said and one in shown)]
