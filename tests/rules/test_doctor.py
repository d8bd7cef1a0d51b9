"""What the machine lacks is said before anything starts, each in one sentence with the command that mends it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from lab import doctor
from lab.doctor import LEAST_DISK_MIB, NEEDS, Need
from lab.errors import LabError
from virtscale.world import require_machine

PACKAGES = Path(__file__).resolve().parents[2] / "tools" / "packages.txt"


class Usage(NamedTuple):
    """As the operating system says it, in bytes."""

    total: int
    used: int
    free: int


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 7 * 2**20))
        yield


def test_a_missing_program_is_one_sentence_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = Need("QEMU", "qemu-system-x86", doctor.on_path("no-such-program"))
    [found] = [one for one in doctor.findings(tmp_path, [need]) if one.code == "lab.qemu-system-x86-missing"]
    assert found.needed
    assert found.sentence == (
        "QEMU is missing; run `apt-get install -y --no-install-recommends qemu-system-x86`."
    )

    monkeypatch.setattr(doctor, "findings", lambda _: (found,))
    with pytest.raises(LabError) as caught:
        require_machine(tmp_path, "qemu")
    assert (caught.value.code, str(caught.value)) == (found.code, found.sentence)


def test_several_that_are_missing_are_a_sentence_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = [Need(name, name, lambda: False) for name in ("gcc", "apt")]
    found = [
        one for one in doctor.findings(tmp_path, gone) if one.code in {"lab.gcc-missing", "lab.apt-missing"}
    ]
    monkeypatch.setattr(doctor, "findings", lambda _: tuple(found))
    with pytest.raises(LabError) as caught:
        require_machine(tmp_path, "qemu")
    assert caught.value.code == "lab.machine-lacks"
    assert str(caught.value).splitlines() == [one.sentence for one in found]


def test_a_missing_header_is_one_sentence_with_the_command(tmp_path: Path) -> None:
    need = Need("the header file of libvirt", "libvirt-dev", doctor.any_file(str(tmp_path / "libvirt.h")))
    [found] = [one for one in doctor.findings(tmp_path, [need]) if one.code == "lab.libvirt-dev-missing"]
    assert found.needed
    assert found.sentence == (
        "the header file of libvirt is missing; run `apt-get install -y --no-install-recommends libvirt-dev`."
    )
    (tmp_path / "libvirt.h").touch()
    assert need.here()


def test_what_is_not_needed_is_a_note_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = Need("virsh", "libvirt-clients", lambda: False, needed=False)
    [found] = [one for one in doctor.findings(tmp_path, [need]) if one.code == "lab.libvirt-clients-missing"]
    monkeypatch.setattr(doctor, "findings", lambda _: (found,))
    assert not found.needed
    require_machine(tmp_path, "qemu")


def test_no_kvm_is_a_note_and_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "KVM", tmp_path / "kvm")
    found = doctor.kvm()
    assert found is not None
    assert (found.code, found.needed) == ("lab.kvm-missing", False)
    assert found.sentence.count("modprobe kvm_intel") == 1
    (tmp_path / "kvm").touch()
    assert doctor.kvm() is None


@pytest.mark.parametrize("substrate", ["qemu", "test"])
@pytest.mark.usefixtures("full")
def test_a_full_disk_is_one_sentence_with_the_number_and_what_to_do(tmp_path: Path, substrate: str) -> None:
    with pytest.raises(
        LabError, match=rf"has 7 MiB free and .* at least {LEAST_DISK_MIB}; free some, see"
    ) as caught:
        require_machine(tmp_path, "test" if substrate == "test" else "qemu")
    assert str(caught.value).count("MiB free") == 1


def test_a_disk_with_room_is_not_mentioned(tmp_path: Path) -> None:
    require_machine(tmp_path, "test")


def test_the_doctor_and_the_list_of_packages_agree() -> None:
    listed = {
        line.split()[0] for line in PACKAGES.read_text().splitlines() if line and not line.startswith("#")
    }
    assert {need.package for need in NEEDS} <= listed
