"""What VMs an org may have, at every boundary, and what is said beyond it."""

import datetime as dt

import pytest

from schemas.capacity import Size
from schemas.codes import MEANING
from schemas.dated import PolicyError
from schemas.limits import (
    LAB,
    PROFILES,
    Door,
    Profile,
    ProfileName,
    amount,
    check,
    check_disk,
    profile,
)
from schemas.objection import Objection
from schemas.pool import PoolError, read
from schemas.sizes import COMPUTE, GENERAL, NAMED

NOW = dt.datetime(2026, 11, 22, 9, 0, tzinfo=dt.UTC)
GIB_MIB, GIB, TIB = 1024, 2**30, 2**40
MANAGED = profile("managed", NOW)
PLATFORM = profile("platform", NOW)
DOORS: tuple[Door, ...] = ("api", "operator")


def objected(
    *,
    vcpu: int = 2,
    memory_gib: int = 8,
    disk: int | None = 30 * GIB,
    image: str = "nixos-managed",
    limits: Profile = MANAGED,
    door: Door = "api",
    **more: int,
) -> Objection | None:
    return check(Size("asked", vcpu, memory_gib * GIB_MIB), disk, image, limits, door, **more)


def code(objection: Objection | None) -> str | None:
    if objection is not None:
        assert objection.code in MEANING
        assert objection.text.endswith(".")
    return None if objection is None else objection.code


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("vcpu", "expected"), [(0, "VcpuTooFew"), (1, None), (12, None), (13, "VcpuTooMany")]
)
def test_a_managed_org_has_1_to_12_vcpu(vcpu: int, expected: str | None, door: Door) -> None:
    assert code(objected(vcpu=vcpu, door=door)) == expected


@pytest.mark.parametrize("image", ["nixos-managed", "cloud-init"])
@pytest.mark.parametrize(
    ("memory_gib", "by_api", "by_operator"),
    [
        (0, "MemoryTooSmall", "MemoryTooSmall"),
        (3, None, None),
        (64, None, None),
        (65, "MemoryNeedsOperator", None),
        (128, "MemoryNeedsOperator", None),
        (129, "MemoryTooLarge", "MemoryTooLarge"),
    ],
)
def test_a_managed_org_has_up_to_128_gib_and_through_the_api_up_to_64(
    memory_gib: int, by_api: str | None, by_operator: str | None, image: str
) -> None:
    assert code(objected(memory_gib=memory_gib, image=image, door="api")) == by_api
    assert code(objected(memory_gib=memory_gib, image=image, door="operator")) == by_operator


@pytest.mark.parametrize("door", DOORS)
def test_a_managed_guest_has_3_gib_and_a_customers_own_may_have_1(door: Door) -> None:
    below = check(Size("asked", 1, 3 * GIB_MIB - 1), 30 * GIB, "nixos-managed", MANAGED, door)
    assert code(below) == "MemoryBelowFloor"
    assert code(objected(memory_gib=1, door=door)) == "MemoryBelowFloor"
    assert objected(memory_gib=3, door=door) is None
    assert objected(memory_gib=1, image="cloud-init", door=door) is None


@pytest.mark.parametrize(
    ("disk", "by_api", "by_operator"),
    [
        (0, "DiskTooSmall", "DiskTooSmall"),
        (29 * GIB, "DiskTooSmall", "DiskTooSmall"),
        (30 * GIB - 1, "DiskTooSmall", "DiskTooSmall"),
        (30 * GIB, None, None),
        (10 * TIB, None, None),
        (10 * TIB + 1, "DiskNeedsOperator", None),
        (16 * TIB, "DiskNeedsOperator", None),
        (16 * TIB + 1, "DiskTooLarge", "DiskTooLarge"),
    ],
)
def test_a_disk_has_30_gib_to_10_tib_and_operators_give_more(
    disk: int, by_api: str | None, by_operator: str | None
) -> None:
    assert code(objected(disk=disk, door="api")) == by_api
    assert code(objected(disk=disk, door="operator")) == by_operator


def test_a_disk_never_shrinks_whoever_asks_and_the_sentence_says_what_to_do_instead() -> None:
    for door in DOORS:
        shrinking = objected(disk=50 * GIB - 1, door=door, present_disk_bytes=50 * GIB)
        assert code(shrinking) == "DiskShrinks"
        assert shrinking is not None
        assert "provision a new VM" in shrinking.text
        assert "50 GiB" in shrinking.text
        assert code(objected(disk=None, door=door, present_disk_bytes=50 * GIB)) == "DiskShrinks"
    assert objected(disk=50 * GIB + 1, present_disk_bytes=50 * GIB) is None


def test_a_disk_that_stays_as_it_is_is_not_judged_anew() -> None:
    assert objected(disk=20 * GIB, present_disk_bytes=20 * GIB) is None
    assert code(check_disk(25 * GIB, MANAGED, "api", 20 * GIB)) == "DiskTooSmall"
    assert check_disk(None, MANAGED, "api") is None


@pytest.mark.parametrize("image", ["windows", "", "lab", "nixos", "cloud-init\n"])
def test_an_unknown_image_is_refused_with_those_there_are(image: str) -> None:
    refused = objected(image=image)
    assert code(refused) == "ImageUnknown"
    assert refused is not None
    assert "nixos-managed or cloud-init" in refused.text
    assert "\n" not in refused.text


@pytest.mark.parametrize("size", NAMED.values(), ids=NAMED)
def test_a_managed_org_has_of_the_named_sizes_those_up_to_xl(size: Size) -> None:
    fits = size.vcpu <= 12
    floor = size.name == "vc.s"
    for door in DOORS:
        refused = code(check(size, 30 * GIB, "nixos-managed", MANAGED, door))
        assert refused == ("MemoryBelowFloor" if floor else None if fits else "VcpuTooMany")


@pytest.mark.parametrize("size", NAMED.values(), ids=NAMED)
def test_an_org_of_the_platforms_profile_has_every_named_size_through_either_door(size: Size) -> None:
    for door in DOORS:
        assert check(size, 30 * GIB, "cloud-init", PLATFORM, door) is None


def test_the_platforms_profile_ends_with_the_largest_named_size() -> None:
    most = max((*GENERAL, *COMPUTE), key=lambda size: (size.vcpu, size.memory_mib))
    assert (PLATFORM.most_vcpu, PLATFORM.most_memory_mib) == (most.vcpu, most.memory_mib)
    assert code(objected(vcpu=65, limits=PLATFORM)) == "VcpuTooMany"
    assert code(objected(vcpu=64, memory_gib=257, limits=PLATFORM)) == "MemoryTooLarge"
    assert code(check(COMPUTE[0], 30 * GIB, "nixos-managed", PLATFORM, "api")) == "MemoryBelowFloor"


def test_the_lab_has_tiny_guests_and_a_managed_one_needs_its_memory_there_too() -> None:
    lab = profile("lab", NOW)
    tiny = Size("vs.tiny", 1, 96)
    assert check(tiny, 64 * 2**20, "lab", lab, "api") is None
    assert check(tiny, None, "lab", lab, "api") is None
    assert code(check(tiny, None, "nixos-managed", lab, "api")) == "MemoryBelowFloor"
    assert code(check(Size("none", 1, 31), None, "lab", lab, "api")) == "MemoryTooSmall"


def test_a_refusal_says_the_number_the_limit_whose_it_is_and_what_to_do() -> None:
    refused = check(NAMED["vs.2xl"], 30 * GIB, "nixos-managed", MANAGED, "api")
    assert refused == Objection(
        "VcpuTooMany",
        "vs.2xl has 16 vCPU; the most is 12 (limit of the profile managed, limits-2026-05, in force since 2026-05-06). Choose a "
        "smaller size and more VMs, or ask the operators for another profile.",
    )
    by_api = objected(memory_gib=65)
    assert by_api is not None
    assert by_api.text == (
        "asked has 65 GiB of memory; through the API the most is 64 GiB (limit of the profile managed, limits-2026-05, in force "
        "since 2026-05-06). Ask the operators, who can give up to 128 GiB."
    )


def test_two_disks_that_are_not_equal_never_look_equal_in_a_sentence() -> None:
    assert amount(30 * GIB) == "30 GiB"
    assert amount(30 * GIB - 1) == "32212254719 bytes"
    assert (amount(10 * TIB), amount(1536 * 2**20), amount(0)) == ("10 TiB", "1536 MiB", "0 bytes")


# --------------------------------------------------------------------------------------------------- dates and orgs


@pytest.mark.parametrize("name", PROFILES)
def test_each_profile_holds_from_its_day_on_until_the_next_row_begins(name: ProfileName) -> None:
    rows = PROFILES[name]
    assert [row.valid_from for row in rows] == sorted({row.valid_from for row in rows})
    assert len({row.version for row in rows}) == len(rows)
    for row, following in zip(rows, (*rows[1:], None), strict=True):
        assert row.name == name
        assert profile(name, row.valid_from) == row
        if following is not None:
            assert profile(name, following.valid_from - dt.timedelta(microseconds=1)) == row


def test_before_the_oldest_row_nothing_is_made_up() -> None:
    with pytest.raises(
        PolicyError, match=r"held on 2023-02-08: the oldest, limits-2023-02, holds from 2023-02-09"
    ) as caught:
        profile("managed", dt.datetime(2023, 2, 8, 23, 59, tzinfo=dt.UTC))
    assert caught.value.code == "PolicyUnknown"


def test_what_was_allowed_in_2024_is_judged_by_the_limits_of_2024() -> None:
    then = profile("managed", dt.datetime(2024, 9, 1, tzinfo=dt.UTC))
    assert objected(memory_gib=1, limits=then) is None
    assert code(objected(image="cloud-init", limits=then)) == "ImageUnknown"
    assert code(objected(vcpu=13, limits=then)) == "VcpuTooMany"


def test_a_pool_has_the_profile_that_it_names_and_else_the_strictest() -> None:
    text = 'org = "acme"\nname = "apps"\ntemplate = "t"\n{}\n[size]\nname = "vs.s"\nvcpu = 1\nmemory_mib = 4096\n'
    assert profile(read(text.format('profile = "platform"')).profile, NOW) == PLATFORM
    assert profile(read(text.format("")).profile, NOW) == MANAGED
    with pytest.raises(PoolError, match="Invalid enum value 'gold'"):
        read(text.format('profile = "gold"'))


def test_the_lab_knows_every_kind_of_image() -> None:
    assert set(LAB[-1].images) >= {"lab", *MANAGED.images}
