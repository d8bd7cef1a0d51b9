"""Where a managed guest's memory goes before its work begins."""

import math

import pytest

from schemas.image import Kind
from schemas.memory import (
    CACHE_MIB,
    MANAGEMENT_MIB,
    SWAPPINESS,
    USERLAND_MIB,
    Breakdown,
    Filebeats,
    explain,
    kernel_mib,
    swap_mib,
    tmp_gib,
)

GIB = 1024
TIB_BYTES, GIB_BYTES = 2**40, 2**30


def group(breakdown: Breakdown, name: str) -> int:
    return sum(part.memory_mib for part in breakdown.parts if part.group == name)


def test_the_kernel_keeps_150_mib_of_3_gib_and_about_1_3_gib_of_64() -> None:
    assert kernel_mib(3 * GIB) == 150
    assert kernel_mib(64 * GIB) == 1399
    assert kernel_mib(2**24) / 2**24 == pytest.approx(0.02, abs=1e-4)


@pytest.mark.parametrize(
    ("alloy", "filebeats", "telemetry", "whole"), [(True, 2, 1168, 3568), (False, 1, 812, 3212)]
)
def test_a_managed_guest_of_3_gib_has_the_parts_of_the_platforms_page(
    *, alloy: bool, filebeats: Filebeats, telemetry: int, whole: int
) -> None:
    found = explain(3 * GIB, "nixos-managed", alloy=alloy, filebeats=filebeats)
    assert [group(found, name) for name in ("kernel", "management", "telemetry", "userland", "cache")] == [
        150,
        MANAGEMENT_MIB,
        telemetry,
        USERLAND_MIB,
        CACHE_MIB,
    ]
    assert found.sum_mib == whole
    assert found.left_mib == 3 * GIB - whole


def test_3_gib_are_enough_although_the_peaks_together_exceed_them() -> None:
    found = explain(3 * GIB, "nixos-managed", alloy=True, filebeats=2)
    assert found.verdict == "peaks-exceed"
    assert found.sentence == (
        "3072 MiB are enough, although 496 MiB would be lacking if everything peaked at once, which it rarely does: work of about "
        "512 MiB runs besides. Take more memory for more work."
    )


def test_below_3_gib_a_managed_guest_is_refused_and_a_customers_own_is_not() -> None:
    found = explain(3 * GIB - 1, "nixos-managed")
    assert (found.verdict, found.floor_mib) == ("below-floor", 3 * GIB)
    assert "3071 MiB are below the 3072 MiB" in found.sentence
    own = explain(1 * GIB, "cloud-init")
    assert (own.verdict, own.floor_mib) == ("peaks-exceed", 0)
    assert "nothing is refused" in own.sentence
    assert {part.group for part in own.parts} == {"kernel", "userland", "cache"}


def test_where_even_the_peaks_fit_the_rest_is_the_works() -> None:
    found = explain(8 * GIB, "nixos-managed", alloy=True, filebeats=2)
    assert found.verdict == "peaks-fit"
    assert found.left_mib == 8 * GIB - found.sum_mib > 0
    assert f"{found.left_mib} MiB are left" in found.sentence
    exactly = explain(1237, "cloud-init")
    assert (exactly.left_mib, exactly.verdict) == (0, "peaks-fit")
    assert explain(1236, "cloud-init").verdict == "peaks-exceed"


@pytest.mark.parametrize("image", ["nixos-managed", "cloud-init", "lab"])
def test_the_verdict_follows_from_floor_sum_and_memory_alone(image: Kind) -> None:
    for memory_mib in range(64, 5 * GIB, 7):
        found = explain(memory_mib, image)
        assert found.sum_mib == sum(part.memory_mib for part in found.parts)
        assert found.left_mib == memory_mib - found.sum_mib
        below, lacking = memory_mib < found.floor_mib, found.left_mib < 0
        assert found.verdict == ("below-floor" if below else "peaks-exceed" if lacking else "peaks-fit")


@pytest.mark.parametrize(("memory_gib", "expected"), [(3, 1773), (64, 8192), (128, 11_585), (1, 1024)])
def test_swap_grows_with_the_root_of_the_memory(memory_gib: int, expected: int) -> None:
    assert swap_mib(memory_gib * GIB) == expected
    assert explain(memory_gib * GIB, "cloud-init").swap_mib == expected
    assert expected == max(1024, math.floor(32 * math.sqrt(memory_gib * GIB)))


def test_swap_is_never_below_1_gib_and_rarely_used() -> None:
    assert swap_mib(96) == 1024
    assert explain(96, "lab").swappiness == SWAPPINESS == 1


@pytest.mark.parametrize(
    ("disk_bytes", "expected"),
    [(30 * GIB_BYTES, 5), (10 * TIB_BYTES, 101), (36 * GIB_BYTES, 6), (36 * GIB_BYTES - 1, 5), (0, 5)],
)
def test_room_for_temporary_files_grows_with_the_root_of_the_disk(disk_bytes: int, expected: int) -> None:
    assert tmp_gib(disk_bytes) == expected
