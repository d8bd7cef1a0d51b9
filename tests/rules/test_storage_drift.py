"""What storage says of disks that are not as the ledger has them, and what becomes of a boot whose disk is gone."""

from pathlib import Path

import pytest

from events.drift import VolumeSettled
from events.gate import GrowOrdered
from events.ids import derive
from events.volume import VolumeFailed, VolumeGrown
from services.storage.errors import StorageError
from services.storage.files.survey import Lying, survey
from tests.rules.desk import played
from tests.rules.disk_scene import BASE, FILE, GIB, GOOD, MINUTE, WHERE, Scene
from tests.simulation.clock import pause


@played
async def test_nothing_is_said_of_a_disk_that_is_as_it_was_made() -> None:
    scene = Scene()
    async with scene.storage():
        await pause(3 * MINUTE)
    assert (scene.drifted(), scene.site.said(VolumeSettled)) == ([], [])


@played
async def test_a_disk_that_is_gone_is_told_once_and_settled_when_it_is_back() -> None:
    scene = Scene()
    file = scene.shelf.files.pop(FILE)
    for _ in range(2):
        async with scene.storage():
            await pause(2 * MINUTE)
    assert scene.drifted() == [("missing", WHERE, "no such file", "none", None)]
    scene.shelf.files[FILE] = file
    async with scene.storage():
        await pause(2 * MINUTE)
    assert [one.what for one in scene.site.said(VolumeSettled)] == ["missing"]
    assert len(scene.drifted()) == 1


@played
async def test_a_disk_that_somebody_grew_counts_what_it_has_and_one_that_shrank_what_it_had() -> None:
    scene = Scene()
    async with scene.storage():
        scene.shelf.files[FILE] = Lying(2 * GIB, BASE)
        await pause(2 * MINUTE)
        scene.shelf.files[FILE] = Lying(GIB // 2, BASE)
        await pause(2 * MINUTE)
    assert scene.drifted() == [
        ("size", f"{GIB} bytes", f"{2 * GIB} bytes", "none", 2 * GIB),
        ("size", f"{GIB} bytes", f"{GIB // 2} bytes", "none", None),
    ]


@played
async def test_a_disk_that_is_grown_by_order_is_no_difference() -> None:
    scene = Scene()
    order = GrowOrdered(derive("g"), "db", "apps", "h1", WHERE, 2 * GIB, derive("r"))
    async with scene.storage():
        await pause(5)
        scene.shelf.files[FILE] = Lying(2 * GIB, BASE)
        now = scene.site.desk.clock.now()
        scene.site.desk.write(VolumeGrown("acme", "db", "h1", WHERE, order.id, 2 * GIB, now))
        await pause(2 * MINUTE)
    assert scene.drifted() == []


@pytest.mark.parametrize(
    ("lying", "what", "found"),
    [
        (Lying(GIB, "/house/templates/other/disk.qcow2"), "parent", "/house/templates/other/disk.qcow2"),
        (Lying(None, None), "format", "another file"),
    ],
)
@played
async def test_a_disk_over_another_template_and_one_that_is_none_are_told(
    lying: Lying, what: str, found: str
) -> None:
    scene = Scene()
    scene.shelf.files[FILE] = lying
    async with scene.storage():
        await pause(2 * MINUTE)
    assert [(one[0], one[2]) for one in scene.drifted()] == [(what, found)]


@played
async def test_a_disk_that_lies_over_nothing_and_a_layer_over_it_are_none_of_anybodys_business() -> None:
    scene = Scene()
    scene.shelf.files = {FILE: Lying(GIB, None), "acme.db.s40.qcow2": Lying(GIB, WHERE)}
    async with scene.storage():
        await pause(2 * MINUTE)
    assert scene.drifted() == []


@played
async def test_a_directory_that_is_not_mounted_says_nothing_about_any_disk() -> None:
    scene = Scene()
    scene.shelf.away = True
    async with scene.storage():
        await pause(3 * MINUTE)
    assert scene.drifted() == []


@played
async def test_files_of_nobodys_are_said_once_and_make_no_event(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.shelf.files["acme.ghost.qcow2"] = GOOD
    scene.shelf.files["notes.txt"] = Lying(None, None)
    async with scene.storage():
        await pause(3 * MINUTE)
    assert len([one for one in caplog.records if "belongs to no VM" in one.getMessage()]) == 2
    assert scene.drifted() == []


@played
async def test_a_kept_vm_whose_disk_is_gone_is_refused_and_has_no_empty_one_in_its_place() -> None:
    scene = Scene()
    del scene.shelf.files[FILE]
    own = scene.boot(2)
    async with scene.storage():
        await pause(5)
    (failed,) = scene.site.said(VolumeFailed)
    assert (failed.order, failed.code) == (own, "disk-missing")
    assert failed.text.startswith(f"The disk of acme/db is gone from {WHERE} on host h1")
    assert scene.shelf.asked == []


@played
async def test_a_kept_vm_that_never_ran_has_a_new_disk_where_its_first_is_gone() -> None:
    scene = Scene(ran=False)
    del scene.shelf.files[FILE]
    scene.boot(2)
    async with scene.storage():
        await pause(5)
    assert scene.site.said(VolumeFailed) == []
    assert scene.shelf.asked == ["create acme/db"]


def test_a_survey_reads_every_file_and_leaves_the_trash_out(tmp_path: Path) -> None:
    (tmp_path / ".trash").mkdir()
    (tmp_path / "notes.txt").write_text("no disk")
    (tmp_path / "acme.a.qcow2").write_bytes(b"no disk either")
    (tmp_path / "acme.a.s3.qcow2").write_bytes(b"")
    seen = survey(tmp_path)
    assert seen.files.keys() == {"notes.txt", "acme.a.qcow2", "acme.a.s3.qcow2"}
    assert seen.newest == {"acme.a.qcow2": 3}
    assert seen.top("acme.a.qcow2") == Lying(None, None)
    with pytest.raises(StorageError, match="nothing is known of what lies there"):
        survey(tmp_path / "away")
