"""What docs/ledger.md shows is what the commands say: the same lines, but for numbers, ids and times."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import msgspec
import pytest

from schemas.house import FILE
from tests.seams.house import run
from tests.seams.kept_ledger import house_of, running, seal, write
from tests.seams.test_readme import masked
from virtscale.audit.maintenance import Place

PAGE = Path(__file__).parents[2] / "docs" / "ledger.md"


def transcripts() -> list[tuple[str, str, list[str]]]:
    """House, command and the lines that it is said to answer, in the page's order."""
    found: list[tuple[str, str, list[str]]] = []
    for block in re.findall(r"^```\n(\$ .*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL):
        said, *lines = block.splitlines()
        parts = re.fullmatch(r"\$ (?:VIRTSCALE_HOUSE=(\S+) )?virtscale (.*)", said)
        assert parts, said
        found.append((parts.group(1) or ".virtscale", parts.group(2), lines))
    return found


async def a_house(place: Place) -> None:
    """A house that was up, without its hosts: a ledger of 28 events, sealed."""
    async with running(place) as (bus, admin):
        await write(admin, 1, 23)
        await seal(place, reader := await bus.sealer())
        await reader.close()
    (place.directory / FILE).write_bytes(msgspec.json.encode(house_of(place)))


async def test_every_command_of_the_page_answers_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place.fresh(tmp_path / ".virtscale")
    await a_house(place)
    shown = transcripts()
    assert len(shown) == 5
    program = Path(sys.executable).with_name("virtscale")
    for house, command, lines in shown:
        if " recover " in command:  # an older store than the archive
            shutil.rmtree(place.bus / "store")
            shutil.copytree(tmp_path / "older", place.bus / "store")
        words = [
            str(tmp_path / word) if word in {"backup", "ledger.tar"} and at > 1 else word
            for at, word in enumerate(shlex.split(command))
        ]
        words = [str(tmp_path / word) if word.startswith(".virtscale/") else word for word in words]
        if " import " in command:
            exported = await run(
                program, "ledger", "export", str(tmp_path / "ledger.tar"), house=place.directory
            )
            assert exported.code == 0, exported.err
        done = await run(program, *words, house=tmp_path / house)
        assert done.code == 0, done.err
        said = {masked(_near(line)) for line in (done.err + done.out).splitlines()}
        missing = [line for line in lines if masked(_near(line)) not in said]
        assert missing == [], f"`virtscale {command}` said otherwise:\n{done.err}{done.out}"
        if " backup " in command:
            shutil.copytree(place.bus / "store", tmp_path / "older")
            async with running(place) as (bus, admin):
                await write(admin, 24, 5)
                await seal(place, reader := await bus.sealer())
                await reader.close()


def _near(line: str) -> str:
    """The line without the place of the test."""
    return re.sub(r"\S*/(?=backup\b|\.virtscale/)", "", line)
