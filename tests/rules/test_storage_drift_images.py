"""What storage says of disks in a cluster that are not as the ledger has them, and what becomes of a start whose image is gone."""

import logging

import pytest
from prometheus_client import REGISTRY

from events.deletion import VolumeErased
from events.drift import VolumeDrifted, VolumeSettled
from events.fact import Fact
from events.gate import AdoptOrdered, GrowOrdered, RestoreOrdered
from events.ids import derive
from events.keep import VmCreated
from events.vm import VmWakeFailed
from events.volume import VolumeCreated, VolumeFailed
from projections.copies.fold import Copies
from projections.directory.fold import Directory
from projections.fleet.fold import Fleet
from projections.volumes.fold import Volumes
from schemas.pool import Storage as Kind
from services.storage.ceph.survey import Images
from services.storage.chores.differences import Folds, look_at_images
from services.storage.files.survey import Lying
from services.storage.state import Owed
from services.storage.written import Written
from tests.rules.desk import played
from tests.rules.disk_scene import GIB, GOOD, GOOD_IMAGE, IMAGE, MINUTE, ORIGIN, Scene
from tests.rules.leaving import FORMER, UUID, Leaving
from tests.rules.waker_host import SIZE
from tests.simulation.clock import pause


def scene_of(*, ran: bool = True, booted: bool = True) -> Scene:
    return Scene(ran=ran, storage="ceph", booted=booted)


@played
async def test_nothing_is_said_of_an_image_that_is_as_it_was_made_or_lies_over_nothing() -> None:
    scene = scene_of()
    async with scene.storage():
        await pause(2 * MINUTE)
        scene.vault.images["db"] = Lying(GIB, None)
        await pause(2 * MINUTE)
    assert (scene.drifted(), scene.site.said(VolumeSettled)) == ([], [])
    assert scene.vault.surveys == 5, "one listing a minute where nothing is otherwise"


@played
async def test_an_image_that_is_gone_is_told_once_and_settled_when_it_is_back() -> None:
    scene = scene_of()
    image = scene.vault.images.pop("db")
    for _ in range(2):
        async with scene.storage():
            await pause(2 * MINUTE)
    assert scene.drifted() == [("missing", IMAGE, "no such image", "none", None)]
    scene.vault.images["db"] = image
    async with scene.storage():
        await pause(2 * MINUTE)
    assert [(one.what, one.host) for one in scene.site.said(VolumeSettled)] == [("missing", "h1")]
    assert len(scene.drifted()) == 1


@played
async def test_an_image_that_somebody_put_into_the_trash_is_missing_and_where_it_lies_is_said() -> None:
    scene = scene_of()
    del scene.vault.images["db"]
    scene.vault.trash.add("db")
    async with scene.storage():
        await pause(2 * MINUTE)
    found = "no such image, and one of its name in the trash"
    assert scene.drifted() == [("missing", IMAGE, found, "none", None)]


@played
async def test_an_image_that_somebody_grew_counts_what_it_has_and_one_that_shrank_what_it_had() -> None:
    scene = scene_of()
    async with scene.storage():
        scene.vault.images["db"] = Lying(2 * GIB, ORIGIN)
        await pause(2 * MINUTE)
        scene.vault.images["db"] = Lying(GIB // 2, ORIGIN)
        await pause(2 * MINUTE)
    assert scene.drifted() == [
        ("size", f"{GIB} bytes", f"{2 * GIB} bytes", "none", 2 * GIB),
        ("size", f"{GIB} bytes", f"{GIB // 2} bytes", "none", None),
    ]


@pytest.mark.parametrize("parent", ["templates/other@origin", "org-acme/tiny@origin"])
@played
async def test_an_image_over_another_is_told(parent: str) -> None:
    scene = scene_of()
    scene.vault.images["db"] = Lying(GIB, parent)
    async with scene.storage():
        await pause(2 * MINUTE)
    assert scene.drifted() == [("parent", "the disk of tiny", parent, "none", None)]


@played
async def test_a_difference_stands_under_the_host_that_its_vm_was_started_on_last() -> None:
    scene = scene_of()
    scene.vault.images["db"] = Lying(GIB, "templates/other@origin")
    async with scene.storage():
        await pause(2 * MINUTE)
        now = scene.site.desk.clock.now()
        scene.site.desk.write(VolumeCreated("acme", "db", "h2", IMAGE, "tiny", GIB, derive("b"), now))
        await pause(2 * MINUTE)
    assert [(one.host, one.what) for one in scene.site.said(VolumeDrifted)] == [
        ("h1", "parent"),
        ("h2", "parent"),
    ]
    assert [(one.host, one.what) for one in scene.site.said(VolumeSettled)] == [("h1", "parent")]


def folds_of(scene: Scene) -> Folds:
    """What the ledger says by now."""
    folds = Folds(Fleet(), Directory(), Volumes(), Copies(), Owed(), Written())
    for recorded in scene.site.desk.facts(Fact):
        for fold in (folds.fleet, folds.directory, folds.volumes, folds.copies, folds.owed, folds.written):
            fold.apply(recorded)
    return folds


@pytest.mark.parametrize("work", ["boot", "grow", "restore", "adopt", "erase", "erase one that never ran"])
@played
async def test_nothing_is_said_of_an_image_at_which_storage_is_by_order(work: str) -> None:
    scene = scene_of(booted=work != "erase one that never ran")
    gone = Images(frozenset(), {}, frozenset({"db"}))
    assert [one for *_, one in look_at_images(folds_of(scene), "acme", gone).found] == ["missing"]
    own, request = derive(work), derive("r")
    match work:
        case "boot":
            scene.boot(2)
        case "grow":
            scene.site.order(GrowOrdered(own, "db", "apps", "h1", IMAGE, 2 * GIB, request))
        case "restore":
            terms = ("db", "first", "snapshot", IMAGE, "tiny", GIB)
            scene.site.order(RestoreOrdered(own, "db", "apps", "h1", *terms, request))
        case "adopt":
            scene.site.order(AdoptOrdered(own, "db", "apps", "h1", "old", UUID, FORMER, GIB, "tiny", request))
        case _:
            Leaving(scene.site).schedule()
    seen = look_at_images(folds_of(scene), "acme", gone)
    assert (seen.found, seen.unsure) == ({}, {("acme", "db")})


@played
async def test_a_cluster_that_cannot_be_reached_says_nothing_about_any_disk_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    scene = scene_of()
    del scene.vault.images["db"]
    scene.vault.away = "lost"

    def said(what: str) -> list[str]:
        return [one.getMessage() for one in caplog.records if what in one.getMessage()]

    async with scene.storage():
        await pause(5 * MINUTE)
        assert said("the cluster") == [
            "the cluster: nothing is said about any disk there until it can be looked at: lost"
        ]
        scene.vault.away = "no pool"
        await pause(2 * MINUTE)
        assert len(said("org acme in the cluster: nothing is said")) == 1
        assert scene.drifted() == []
        scene.vault.away = ""
        await pause(2 * MINUTE)
        assert len(said("are compared with the ledger again")) == 2
    assert [one[0] for one in scene.drifted()] == ["missing"]


@played
async def test_a_look_at_files_settles_nothing_that_was_told_of_an_image() -> None:
    scene = scene_of()
    desk = scene.site.desk
    now = desk.clock.now()
    desk.write(VmCreated("acme", "web", "apps", SIZE, "tiny", "lab", "http", GIB, None, False, "ann", now))
    desk.write(VolumeCreated("acme", "web", "h1", "/volumes/acme.web.qcow2", "tiny", GIB, derive("web"), now))
    scene.shelf.files = {"acme.web.qcow2": GOOD}
    del scene.vault.images["db"]
    async with scene.storage():
        await pause(5 * MINUTE)
    assert [(one.vm, one.what) for one in scene.site.said(VolumeDrifted)] == [("db", "missing")]
    assert scene.site.said(VolumeSettled) == []


@played
async def test_images_of_nobodys_are_said_once_and_make_no_event(caplog: pytest.LogCaptureFixture) -> None:
    scene = scene_of()
    scene.vault.images |= {"ghost": GOOD_IMAGE, "db.part": GOOD_IMAGE, "db.copy": GOOD_IMAGE}
    async with scene.storage():
        await pause(3 * MINUTE)
    said = [one.getMessage() for one in caplog.records if "belongs to no VM" in one.getMessage()]
    assert said == [
        f"org acme in the cluster: the image {name} among its disks belongs to no VM; nothing is done to it"
        for name in ("db.copy", "ghost")
    ]
    assert scene.drifted() == []


@pytest.mark.parametrize("storage", ["local", "ceph"])
@played
async def test_what_is_counted_as_otherwise_goes_with_the_last_disk(storage: Kind) -> None:
    scene = Scene(storage=storage)
    scene.vault.images = {"ghost": GOOD_IMAGE}
    scene.shelf.files = {"acme.ghost.qcow2": GOOD}
    name, label = ("images_drifted", "org") if storage == "ceph" else ("drifted", "host")
    strange = "images_of_nobody" if storage == "ceph" else "files_of_nobody"

    def counted() -> list[float | None]:
        labels = {label: "acme" if storage == "ceph" else "h1"}
        return [REGISTRY.get_sample_value(f"virtscale_storage_{one}", labels) for one in (name, strange)]

    async with scene.storage():
        await pause(MINUTE)
        assert counted() == [1, 1]
        now = scene.site.desk.clock.now()
        scene.site.desk.write(VolumeErased("acme", "db", "h1", derive("e"), IMAGE, 0, now))
        await pause(2 * MINUTE)
        assert counted() == [0, 0]


@played
async def test_a_kept_vm_whose_image_is_gone_is_refused_and_has_no_empty_one_in_its_place() -> None:
    scene = scene_of()
    del scene.vault.images["db"]
    own = scene.boot(2)
    async with scene.storage():
        await pause(5)
    (failed,) = scene.site.said(VolumeFailed)
    assert (failed.order, failed.code) == (own, "disk-missing")
    assert failed.text.startswith(
        f"The disk of acme/db is gone from {IMAGE}, and what its guest wrote with it."
    )
    assert scene.vault.asked == []


@played
async def test_what_a_guest_wrote_is_known_also_after_a_start_elsewhere_that_failed() -> None:
    scene = scene_of()
    desk = scene.site.desk
    now, moved = desk.clock.now(), scene.boot(2, "h2")
    desk.write(VolumeCreated("acme", "db", "h2", IMAGE, "tiny", GIB, moved, now))
    desk.write(VmWakeFailed("acme", "db", "h2", moved, "wake-refused", "No.", "off", now))
    del scene.vault.images["db"]
    scene.boot(3)
    async with scene.storage():
        await pause(5)
    assert [one.code for one in scene.site.said(VolumeFailed)] == ["disk-missing"]
    assert scene.vault.asked == []


@played
async def test_a_kept_vm_that_never_ran_has_a_new_image_where_its_first_is_gone() -> None:
    scene = scene_of(ran=False)
    del scene.vault.images["db"]
    scene.boot(2)
    async with scene.storage():
        await pause(5)
    assert scene.site.said(VolumeFailed) == []
    assert scene.vault.asked == ["create acme/db"]
