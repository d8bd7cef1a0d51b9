"""What the README shows is what the commands say: the same lines, but for numbers, ids and how far apart they stand."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.seams.house import House

pytestmark = pytest.mark.asyncio(loop_scope="session")

README = Path(__file__).parents[2] / "README.md"
MASKS = (
    (r"\b(?:[0-9a-f]{64}|[0-9a-f]{32}|[0-9a-f]{16}|[0-9a-f]{8}(?=\.ed25519))\b", "ID"),
    (r"^ +\d+  [\d:.]+  (\S+) +(\S+) .*", r"event \1 \2"),  # of the ledger's lines: who, and what
    (r"\S*keys/", "KEYS/"),
    # The first refusal of an episode is mailed at once, one that follows it in a digest.
    (r"^(mail to \S+ accepted|the org's owner was mailed about an earlier refusal).*", "the owner is told"),
    (r" \d+ behind it (is|are) not sealed yet\.", ""),
    (r"\d+(\.\d+)?", "N"),
    (r" +", " "),
)


def masked(line: str) -> str:
    """The line without what differs from run to run."""
    for pattern, instead in MASKS:
        line = re.sub(pattern, instead, line)
    return line.strip()


def transcripts() -> Iterator[tuple[str, list[str]]]:
    """Each command of the README with the lines that it is said to answer."""
    for block in re.findall(
        r"^```\n(\$ virtscale .*?)^```", README.read_text(), flags=re.MULTILINE | re.DOTALL
    ):
        command, *lines = block.splitlines()
        yield command.removeprefix("$ virtscale "), lines


async def test_every_command_in_the_readme_answers_as_the_readme_says(world: House) -> None:
    shown = list(transcripts())
    assert len(shown) >= 7
    for command, lines in shown:
        # A round more or less between two events moves the tail's beginning, not what happened.
        done = await world.command(*shlex.split(re.sub(r"tail -n \d+", "tail -n 30", command)))
        said = {masked(line) for line in (done.err + done.out).splitlines()}
        missing = [line for line in lines if masked(line) not in said]
        assert missing == [], f"`virtscale {command}` said otherwise:\n{done.err}{done.out}"
