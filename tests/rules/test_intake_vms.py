"""What the door says to requests about kept VMs that cannot be: a sentence with the number, the limit and whose, and nothing stored."""

import datetime as dt
from typing import Any, Final

import msgspec
import pytest

from events.copy import CopyRequested
from events.deletion import DeletionCancelRequested, DeletionRequested
from events.keep import VmCreateRequested, VmResizeRequested
from events.permission import PermissionChangeRequested
from schemas.capacity import Size
from schemas.image import Image, ImageError
from schemas.intake import VERBS, Rejection, Request
from schemas.names import OPERATOR
from schemas.vm_intake import (
    AdoptVm,
    ChangeMaintenance,
    ChangeVm,
    CopyVm,
    CreateVm,
    DeleteVm,
    DropCopy,
    Permit,
    ResizeVm,
    RestoreVm,
    UndeleteVm,
)
from services.signal.decide import Asked, RequestFact, judge, read
from services.signal.known import Known
from tests.copying import Copying
from tests.given import ORG
from tests.keeping import GIB, ONE

MANAGED: Final = Image("nixos-managed", "http")
IMAGES: Final = {"tiny": MANAGED, "guest": Image("lab", "http"), "cloud": Image("cloud-init", "none")}


def image_of(template: str) -> Image | None:
    if template == "spoilt":
        raise ImageError("The image of template spoilt cannot be read: kind is missing.")
    return IMAGES.get(template)


def given(**pool: Any) -> Copying:
    past = Copying()
    past.running(disk_gib=1000, vcpu=100, **pool)
    past.pool("shop", Size("vs.s", 1, 4096), kind="kept", profile="managed")
    return past


def asked(past: Copying, request: Request, publisher: str = OPERATOR) -> RequestFact | Rejection:
    verb = next(verb for verb, kind in VERBS.items() if isinstance(request, kind))
    views = past.state
    known = Known(past.usage, past.fleet, views.contracts, views.directory, views.copies, image_of)
    sent = msgspec.json.encode(request)
    found = read(f"in.{ORG}.{publisher}.{verb}", sent)
    return judge(found, known, past.now) if isinstance(found, Asked) else found


def refused(past: Copying, request: Request, publisher: str = OPERATOR) -> Rejection:
    found = asked(past, request, publisher)
    assert isinstance(found, Rejection), found
    assert found.text.endswith("Nothing was stored."), found.text
    return found


def new(**members: Any) -> CreateVm:
    base = CreateVm(pool="shop", vm="own", key="k", actor="kim", disk_bytes=30 * GIB)
    return msgspec.structs.replace(base, **members)


def sized(vcpu: int, gib: int) -> CreateVm:
    return new(size=Size(f"custom-{vcpu}x{gib * 1024}", vcpu, gib * 1024))


def who(vm: str = "db") -> dict[str, Any]:
    return {"vm": vm, "key": "k", "actor": "kim", "reason": "because"}


@pytest.mark.parametrize(
    ("vcpu", "gib", "publisher", "code", "words"),
    [
        (1, 4, "ci", None, ""),
        (12, 64, "ci", None, ""),
        (13, 64, "ci", "VcpuTooMany", "13 vCPU; the most is 12"),
        (1, 1, "ci", "MemoryBelowFloor", "1 GiB"),
        (1, 2, OPERATOR, "MemoryBelowFloor", "2 GiB"),
        (8, 65, "ci", "MemoryNeedsOperator", "65 GiB"),
        (8, 65, OPERATOR, None, ""),
        (8, 128, OPERATOR, None, ""),
        (8, 129, OPERATOR, "MemoryTooLarge", "129 GiB"),
    ],
)
def test_a_size_past_its_pools_profile_is_refused_with_the_number_and_the_limit(
    vcpu: int, gib: int, publisher: str, code: str | None, words: str
) -> None:
    found = asked(given(), sized(vcpu, gib), publisher)
    if code is None:
        assert isinstance(found, VmCreateRequested)
        return
    assert isinstance(found, Rejection)
    assert (found.code, words in found.text) == (code, True), found.text
    assert "limits-2026-05" in found.text
    assert "Nothing was stored." in found.text


def test_no_vcpu_at_all_is_no_request() -> None:
    sent = msgspec.json.encode(sized(1, 4)).replace(b'"vcpu":1', b'"vcpu":0')
    found = read(f"in.{ORG}.ci.create", sent)
    assert isinstance(found, Rejection)
    assert (found.code, "`int` >= 1" in found.text) == ("RequestUnreadable", True), found.text


@pytest.mark.parametrize(
    ("gib", "code"), [(29, "DiskTooSmall"), (30, None), (10 * 1024 + 1, "DiskNeedsOperator")]
)
def test_a_disk_has_30_gib_and_what_is_past_the_api_is_the_operators(gib: int, code: str | None) -> None:
    found = asked(given(), new(disk_bytes=gib * GIB), "ci")
    assert (found.code if isinstance(found, Rejection) else None) == code


@pytest.mark.parametrize(
    ("image", "code"), [("nosuch", "ImageUnknown"), ("spoilt", "ImageUnknown"), ("guest", "ImageUnknown")]
)
def test_an_image_that_is_not_there_or_not_for_the_pool_is_refused(image: str, code: str) -> None:
    assert refused(given(), new(image=image)).code == code


def test_what_a_vm_is_told_is_for_images_that_read_it() -> None:
    seed = msgspec.convert({"name": "seed-x", "commitment": "0" * 64}, CreateVm.__annotations__["seed"])
    assert refused(given(), new(seed=seed)).code == "SeedUnused"
    assert isinstance(asked(given(), new(seed=seed, image="cloud")), VmCreateRequested)


def test_a_vm_is_made_in_a_pool_that_keeps_vms_and_in_no_other() -> None:
    past = given()
    past.pool("web", ONE)
    assert refused(past, new(pool="web")).code == "PoolScales"
    assert refused(past, new(pool="nosuch")).code == "PoolUnknown"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (ResizeVm(vm="db", key="k", actor="kim", disk_bytes=9 * GIB), "DiskShrinks"),
        (ResizeVm(vm="db", key="k", actor="kim"), "NothingAsked"),
        (ResizeVm(vm="db", key="k", actor="kim", size=Size("custom-65x96", 65, 96)), "VcpuTooMany"),
        (DeleteVm(**who(), day=dt.date(2020, 1, 1)), "DeletionTooSoon"),
        (DeleteVm(**who(), day=dt.date(2040, 1, 1)), "DeletionTooFar"),
        (DeleteVm(**who(), policy="deletion-1999-01"), "PolicyUnknown"),
    ],
)
def test_what_cannot_be_done_to_a_vm_is_refused_before_it_is_stored(request_: Request, code: str) -> None:
    assert refused(given(), request_).code == code


@pytest.mark.parametrize(
    "request_",
    [
        ChangeVm(**who("nosuch"), change="start"),
        ResizeVm(vm="nosuch", key="k", actor="kim", disk_bytes=GIB),
        DeleteVm(**who("nosuch")),
        UndeleteVm(**who("nosuch")),
        CopyVm(**who("nosuch"), kind="backup"),
        DropCopy(**who("nosuch"), copy="one"),
        RestoreVm(**who("nosuch"), copy="one"),
    ],
)
def test_nobodys_vm_is_unknown_whatever_is_asked(request_: Request) -> None:
    assert refused(given(), request_).code == "VmUnknown"


@pytest.mark.parametrize(
    "request_",
    [
        ChangeVm(vm="db", key="k", actor="kim", reason="a\x1b[2J", change="start"),
        DeleteVm(vm="db", key="k", actor="kim", reason="a\nb"),
        CopyVm(vm="db", key="k", actor="kim", reason="a\x07", kind="backup"),
        Permit(holder="ci", permission="sudo-srv", change="grant", key="k", actor="kim", reason="a\nb"),
    ],
)
def test_a_reason_that_would_do_something_to_a_terminal_is_refused(request_: Request) -> None:
    assert refused(given(), request_).code == "ReasonUnprintable"


def test_only_operators_adopt_permit_and_move_maintenance() -> None:
    adopt = AdoptVm(
        pool="shop", vm="old", key="k", actor="kim", reason="ours", host="h1", domain="old", uuid="u",
        size=ONE, disk="/old.qcow2", disk_bytes=30 * GIB,
    )  # fmt: skip
    permit = Permit(holder="ci", permission="sudo-srv", change="grant", key="k", actor="kim", reason="nights")
    move = ChangeMaintenance(
        vm="db", maintenance="0" * 32, key="k", actor="kim", change="postpone", reason="the fair"
    )
    for request in (adopt, permit, move):
        assert refused(given(), request, "ci").code == "OperatorOnly"
    assert isinstance(asked(given(), permit), PermissionChangeRequested)


def test_a_copy_has_the_name_that_was_asked_and_else_one_of_its_keys_own() -> None:
    past = given()
    past.copied("one")
    assert refused(past, CopyVm(**who(), kind="snapshot", copy="one")).code == "CopyExists"
    found = [asked(past, CopyVm(**who(), kind="snapshot")) for _ in range(2)]
    assert found[0] == found[1]
    assert isinstance(found[0], CopyRequested)
    assert found[0].copy.startswith("copy-")


def test_a_deletion_without_a_day_is_on_the_next_one_in_the_zone_of_its_pool() -> None:
    past = given()
    found = asked(past, DeleteVm(**who()))
    assert isinstance(found, DeletionRequested)
    assert found.day == past.now.astimezone(dt.UTC).date() + dt.timedelta(days=1)
    assert isinstance(asked(past, UndeleteVm(**who(), start=False)), DeletionCancelRequested)
    assert isinstance(
        asked(past, ResizeVm(vm="db", key="k", actor="kim", disk_bytes=40 * GIB)), VmResizeRequested
    )
