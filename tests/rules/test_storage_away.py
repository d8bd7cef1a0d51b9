"""What storage does not find where it should lie is not said to be gone: its disk may not be mounted."""

from pathlib import Path

import pytest

from events.deletion import BackupsErased, EraseFailed, VolumeErased
from events.ids import derive
from events.volume import VolumeCreated
from services.storage.copies.backups import MARK
from services.storage.volumes import (
    MissingError,
)
from tests.rules.desk import play
from tests.rules.erase_site import IMAGE, Scene
from tests.rules.leaving import GIB, PLACE
from tests.simulation.clock import pause


def test_a_disk_is_not_said_to_be_gone_while_none_is_found_of_all_that_are_known_there() -> None:
    async def scene() -> None:
        here = Scene()
        here.host()
        here.toy.local = True
        for vm in ("db", "web"):
            place, now = f"/volumes/acme.{vm}.qcow2", here.now()
            here.site.desk.write(VolumeCreated("acme", vm, "h1", place, "tiny", GIB, derive("boot", vm), now))
        here.there.schedule()
        async with here.storage():
            here.undefined(here.there.erase())
            await pause(600)
            assert here.toy.asked == []
            assert [told.code for told in here.site.said(EraseFailed)] == ["DisksAway"]
            here.toy.images["web"] = 0  # it is mounted again, and db is gone already
            await pause(600)
        assert here.toy.asked == ["clear acme.db on h1"]
        assert len(here.site.said(VolumeErased)) == 1

    play(scene)


@pytest.mark.parametrize("after_seconds", [0.0, 0.005, 0.015])
def test_the_last_disk_of_a_host_is_gone_when_it_is_not_found(after_seconds: float) -> None:
    async def scene() -> None:
        here = Scene()
        here.host()
        here.toy.local = True
        here.site.desk.write(
            VolumeCreated("acme", "db", "h1", PLACE, "tiny", GIB, derive("boot"), here.now())
        )
        here.there.schedule()
        async with here.storage():
            here.undefined(here.there.erase())
            await pause(after_seconds)
        async with here.storage():
            await pause(5)
        assert len(here.site.said(VolumeErased)) == 1

    play(scene)


def test_an_image_is_not_said_to_be_gone_where_the_cluster_has_no_place_for_its_org() -> None:
    async def scene() -> None:
        here = Scene()
        here.host()
        here.toy.no.extend(MissingError("There is no pool org-acme.", final=True) for _ in range(20))
        here.there.schedule()
        async with here.storage():
            here.undefined(here.there.erase(volume=IMAGE))
            await pause(60)
            assert here.site.said(VolumeErased) == []
            assert [told.code for told in here.site.said(EraseFailed)] == ["DisksAway"]
            await pause(7200)
        assert len(here.site.said(VolumeErased)) == 1

    play(scene)


def test_backups_whose_disk_is_not_mounted_are_not_said_to_be_gone(tmp_path: Path) -> None:
    root = tmp_path / "backups"
    root.mkdir()

    async def scene() -> None:
        here = Scene(root)
        here.copied("night", str(root / "acme" / "db" / "night.qcow2"))
        here.there.schedule()
        async with here.storage():
            here.there.erase_backups()
            await pause(60)
            assert [told.code for told in here.site.said(EraseFailed)] == ["BackupsAway"]
            # Another VM's was written to the empty mount point, by a house that did not look.
            (root / "acme" / "web").mkdir(parents=True)
            await pause(600)
            assert here.site.said(BackupsErased) == []
            (root / MARK).touch()
            await pause(600)
        assert len(here.site.said(BackupsErased)) == 1

    play(scene)


def test_backups_of_a_directory_that_the_house_names_no_more_are_not_said_to_be_gone_while_that_is_away(
    tmp_path: Path,
) -> None:
    former, away = tmp_path / "former", tmp_path / "away"
    night = former / "acme" / "db" / "night.qcow2"
    night.parent.mkdir(parents=True)
    night.write_bytes(b"x")
    former.rename(away)

    async def scene() -> None:
        here = Scene(None)
        here.copied("night", str(night))
        here.there.schedule()
        async with here.storage():
            here.there.erase_backups()
            await pause(600)
            assert here.site.said(BackupsErased) == []
            away.rename(former)
            await pause(600)
        assert len(here.site.said(BackupsErased)) == 1
        assert not night.exists()

    play(scene)
