"""The house that several seam tests share: started once, when the first of them asks, and left as it was found."""

from collections.abc import AsyncIterator, Generator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_asyncio

from lab.ceph import Ceph
from tests.seams.house import House, a_house
from tests.seams.stores import Bench, benches

SHARED = "house_of_four"
MARKS = pytest.StashKey[dict[str, int]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of the shared house come last and together, so that its guests burden no other test."""
    items.sort(key=lambda item: SHARED in getattr(item, "fixturenames", ()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure in the shared house shows what each worker said meanwhile."""
    report = yield
    house = getattr(item, "funcargs", {}).get("world")
    if report.failed and isinstance(house, House):
        marks = item.stash.get(MARKS, {})
        for name in house.crew.names():
            report.sections.append((f"worker {name}", house.crew.said(name, marks.get(name, 0))))
        report.sections.append(("the installation", "\n".join(house.said[-20:])))
    return report


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def house_of_four() -> AsyncIterator[House]:
    """A whole house with four suspended guests."""
    async with a_house() as house:
        yield house


@pytest_asyncio.fixture(loop_scope="session")
async def world(request: pytest.FixtureRequest, house_of_four: House) -> AsyncIterator[House]:
    """The shared house, at rest before the test and after it."""
    house = house_of_four
    request.node.stash[MARKS] = house.crew.marks()
    yield house
    surprises, house.crew.surprises = house.crew.surprises, []
    await house.rest()
    assert surprises == [], "a worker ended by itself"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ceph() -> AsyncIterator[Ceph]:
    """A Ceph of three zones, for all tests that want one: each takes names of its own."""
    with TemporaryDirectory(prefix="vs-", dir="/tmp") as directory:
        cluster = Ceph(Path(directory) / "ceph")
        await cluster.start()
        try:
            yield cluster
        finally:
            await cluster.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def both(ceph: Ceph) -> AsyncIterator[dict[str, Bench]]:
    """Both drivers of volumes, by their kind, beside one libvirtd."""
    async with benches(ceph) as made:
        yield made
