"""Sizes of VMs: two families by their ratio, and sizes of one's own."""

from itertools import pairwise

import msgspec
import pytest

from schemas.capacity import Size
from schemas.sizes import (
    COMPUTE,
    FAMILIES,
    GENERAL,
    LEAST_MEMORY_MIB,
    MOST_MEMORY_MIB,
    MOST_VCPU,
    NAMED,
    Family,
    SizeError,
    family_of,
    own,
    read,
)

GIB = 1024
RATIO: dict[Family, int] = {"general": 4, "compute": 2}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_size_of_a_family_has_exactly_its_ratio_of_memory(family: Family) -> None:
    assert {size.memory_mib / size.vcpu for size in FAMILIES[family]} == {RATIO[family] * GIB}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_size_of_a_family_is_twice_the_one_before(family: Family) -> None:
    sizes = FAMILIES[family]
    for smaller, larger in pairwise(sizes):
        assert (larger.vcpu, larger.memory_mib) == (2 * smaller.vcpu, 2 * smaller.memory_mib)


def test_the_general_family_goes_from_1_with_4_gib_to_64_with_256() -> None:
    assert [size.name for size in GENERAL] == [
        f"vs.{step}" for step in ("s", "m", "l", "xl", "2xl", "3xl", "4xl")
    ]
    assert (GENERAL[0].vcpu, GENERAL[0].memory_mib) == (1, 4 * GIB)
    assert (GENERAL[-1].vcpu, GENERAL[-1].memory_mib) == (64, 256 * GIB)


def test_the_compute_family_has_the_same_steps_and_as_many_vcpu() -> None:
    assert [size.name for size in COMPUTE] == [size.name.replace("vs.", "vc.") for size in GENERAL]
    assert [size.vcpu for size in COMPUTE] == [size.vcpu for size in GENERAL]


def test_every_named_size_is_read_by_its_name_and_may_stand_in_an_event() -> None:
    assert len(NAMED) == 14
    for name, size in NAMED.items():
        assert read(name) == size
        assert msgspec.json.decode(msgspec.json.encode(size), type=Size) == size
        assert family_of(size) == ("general" if name.startswith("vs.") else "compute")


def test_ones_own_size_is_written_as_vcpu_and_mib_and_its_name_is_read_back_as_itself() -> None:
    size = read("2x8192")
    assert (size.name, size.vcpu, size.memory_mib) == ("custom-2x8192", 2, 8192)
    assert read(size.name) == size
    assert msgspec.json.decode(msgspec.json.encode(size), type=Size) == size


def test_ones_own_size_belongs_to_no_family_even_with_the_numbers_of_a_named_one() -> None:
    assert read("2x8192") != NAMED["vs.m"]
    assert family_of(read("2x8192")) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vs",
        "vs.xxl",
        "VS.S",
        "2x",
        "x8192",
        "2x8GiB",
        "02x8192",
        "2 x 8192",
        "-1x8192",
        "2x8192\n",
        "٢x8192",
    ],
)
def test_what_is_no_size_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(SizeError, match=r"is no size: choose vs\.s to vs\.4xl or vc\.s to vc\.4xl") as caught:
        read(text)
    assert caught.value.code == "SizeUnknown"


@pytest.mark.parametrize(
    ("vcpu", "memory_mib", "code"),
    [
        (0, 8192, "VcpuTooFew"),
        (MOST_VCPU + 1, 8192, "VcpuTooMany"),
        (1, 0, "MemoryTooSmall"),
        (1, LEAST_MEMORY_MIB - 1, "MemoryTooSmall"),
        (1, MOST_MEMORY_MIB + 1, "MemoryTooLarge"),
    ],
)
def test_numbers_that_no_size_can_have_are_refused_with_the_number_and_the_bound(
    vcpu: int, memory_mib: int, code: str
) -> None:
    with pytest.raises(SizeError, match=f"A size of {vcpu} vCPU and {memory_mib} MiB cannot be") as caught:
        read(f"{vcpu}x{memory_mib}")
    assert caught.value.code == code
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "any", "vcpu": vcpu, "memory_mib": memory_mib}, Size)


@pytest.mark.parametrize("vcpu", [1, MOST_VCPU])
@pytest.mark.parametrize("memory_mib", [LEAST_MEMORY_MIB, MOST_MEMORY_MIB])
def test_the_bounds_themselves_can_be_had(vcpu: int, memory_mib: int) -> None:
    size = own(vcpu, memory_mib)
    assert msgspec.json.decode(msgspec.json.encode(size), type=Size) == size
