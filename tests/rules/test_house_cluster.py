"""Which Ceph cluster a house has: an operator's own stays, and the house's is there only in a life that asked for it."""

from pathlib import Path

import msgspec
import pytest

from schemas.house import FILE, CephPlace, House, HouseError, load
from virtscale import cluster, description
from virtscale.ports import Ports

THEIRS = CephPlace("/etc/ceph/ceph.conf", "client.virtscale")


def started(directory: Path, *, own_ceph: bool = False) -> House:
    """The description that a start writes."""
    chosen = description.kept(directory, own_ceph=own_ceph)
    description.write(description.describe(directory, Ports.usual(), "/templates", (), chosen))
    return load(directory)


def test_a_house_has_no_cluster_and_one_of_before_there_were_any_is_read(tmp_path: Path) -> None:
    assert started(tmp_path).ceph is None
    former = msgspec.json.decode((tmp_path / FILE).read_bytes())
    del former["ceph"]
    (tmp_path / FILE).write_bytes(msgspec.json.encode(former))
    assert load(tmp_path).ceph is None
    assert started(tmp_path).ceph is None


def test_a_cluster_that_an_operator_named_stays_and_is_not_the_houses_own(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"ceph": {"conf": "/etc/ceph/ceph.conf", "user": "client.virtscale"}}')
    assert [started(tmp_path).ceph for _ in range(2)] == [THEIRS, THEIRS]
    assert not cluster.is_own(tmp_path, THEIRS)
    with pytest.raises(HouseError, match=r"names the Ceph cluster of /etc/ceph/ceph\.conf already"):
        started(tmp_path, own_ceph=True)


def test_the_houses_own_cluster_ends_with_the_life_that_asked_for_it(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    own = started(here, own_ceph=True).ceph
    assert own == CephPlace(str(here / "ceph" / "ceph.conf"))
    assert cluster.is_own(here, own)
    assert started(here, own_ceph=True).ceph == own
    here.rename(there)
    assert started(there).ceph is None


def test_a_configuration_that_is_no_absolute_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"ceph": {"conf": "ceph.conf"}}')
    with pytest.raises(HouseError, match="write an absolute path"):
        started(tmp_path)
