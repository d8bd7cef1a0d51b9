"""The engineering page in a real browser: on a phone and on a desk, by day and by night."""

import asyncio
import platform
from pathlib import Path

import pytest

from events.tlog.reader import Archive
from replay.page.style import DARK, LIGHT
from replay.page.whole import Seal
from replay.report import report
from replay.source import ArchiveSource
from tests.rules.archives import SIGNER, sealed
from tests.rules.report_day import a_day
from tests.seams.browser import Chromium, browser, site

PHONE, DESK = (360, 740), (1280, 900)
LEGIBLE_PIXELS = 9.5


@pytest.fixture(scope="module")
def page() -> bytes:
    """A page with a day on it, a pool with the longest of names, and as many trips as years bring."""
    day = a_day()
    pool = day.fleet.pools["acme", "web"]
    day.pool("w" * 32, pool.size, pool.triggers[0] if pool.triggers else None)
    day.watch(day.now.replace(minute=5, second=0, microsecond=0), {"web": 3.0, "jobs": 1.0, "w" * 32: 1.0})
    files = sealed(day.stored)
    seal = Seal(Archive(files).checkpoint_note() or "", SIGNER.vkey)
    _, text = asyncio.run(report(ArchiveSource(Archive(files)), seal))
    table, rest = text.split("</table>", 1)
    return (table.replace("<td>16</td>", "<td>1,412,000</td>") + "</table>" + rest).encode()


@pytest.fixture
def chromium(tmp_path: Path) -> Chromium:
    program = browser()
    if program is None and platform.freedesktop_os_release().get("ID") != "debian":
        pytest.skip("there is no Chromium here; Debian has one as the package chromium-headless-shell")
    assert program is not None, "make bootstrap installs chromium-headless-shell"
    return Chromium(program, tmp_path)


@pytest.mark.may_skip("Ubuntu has Chromium as a snap alone, which sees no directory of a test")
async def test_the_page_fits_a_phone_and_a_desk_is_legible_and_asks_for_nothing(
    page: bytes, chromium: Chromium
) -> None:
    assert b"<td>1,412,000</td>" in page
    async with site({"/page": page}, dict((PHONE, DESK))) as served:
        for found, (width, _) in zip(
            await chromium.measured(served.url("/measure")), (PHONE, DESK), strict=True
        ):
            assert found["width"] == width, found
            assert found["scrolls"] <= width, found
            assert found["widest"] <= width, found
            assert found["text_right"] <= width, found
            assert found["smallest"] >= LEGIBLE_PIXELS, found
            assert found["texts"] > 100, found
        assert set(served.asked) <= {"/measure", "/page", "/favicon.ico"}


@pytest.mark.may_skip("Ubuntu has Chromium as a snap alone, which sees no directory of a test")
@pytest.mark.parametrize(
    ("size", "dark"), [(PHONE, False), (DESK, False), (PHONE, True)], ids=["phone", "desk", "night"]
)
async def test_the_page_is_seen(
    page: bytes,
    chromium: Chromium,
    size: tuple[int, int],
    dark: bool,  # noqa: FBT001 - a column of the table
) -> None:
    async with site({"/page": page}, {}) as served:
        picture = await chromium.picture(served.url("/page"), *size, dark=dark)
    assert (picture.width, picture.height) == size
    paper = (DARK if dark else LIGHT)["paper"]
    assert picture.ground == tuple(int(paper[place : place + 2], 16) for place in (1, 3, 5))
    assert 0.01 < picture.inked < 0.5
