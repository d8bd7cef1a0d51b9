"""What `house.json` keeps of what somebody chose, and what a start finds anew."""

from pathlib import Path

import msgspec
import pytest

from schemas.house import FILE, House, HouseError, load
from virtscale import description
from virtscale.ports import Ports


def started(directory: Path, ports: Ports) -> House:
    """The description that a start writes, as far as it says where things are."""
    house = description.describe(directory, ports, "/templates", (), description.kept(directory))
    description.write(house)
    return load(directory)


def test_what_an_operator_chose_stays_whenever_the_house_is_started(tmp_path: Path) -> None:
    first = started(tmp_path, Ports.usual())
    assert (first.origin, first.permit_seconds) == (description.ORIGIN, description.PERMIT_SECONDS)
    chosen = msgspec.structs.replace(
        first,
        audit="/mnt/other/audit",
        audit_key="/mnt/other/log.key",
        marks="/mnt/other/marks",
        origin="ledger.example/east",
        permit_seconds=20.0,
        witnesses=("https://witness.example/add-checkpoint",),
    )
    description.write(chosen)
    second = started(tmp_path, Ports.usual(100))
    assert second == msgspec.structs.replace(
        chosen,
        bus_url="nats://127.0.0.1:14322",
        smtp_port=10125,
        prometheus_url="http://127.0.0.1:19190",
        metrics_port=19200,
        remote_write="127.0.0.1:19301",
        alertmanager_url=second.alertmanager_url,
    )
    assert description.kept(tmp_path, permit_seconds=0.0).permit_seconds == 0.0


@pytest.mark.parametrize("installed", [True, False])
def test_a_house_has_an_alertmanager_of_its_own_where_one_is_installed_unless_an_operator_named_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, installed: bool
) -> None:
    monkeypatch.setattr("lab.alertmanager.installed", lambda: installed)
    started(tmp_path, Ports.usual())
    own = started(tmp_path, Ports.usual(100))
    assert own.alertmanager_url == ("http://127.0.0.1:19193" if installed else "")
    assert description.has_own_alertmanager(own) is installed
    description.write(msgspec.structs.replace(own, alertmanager_url="http://localhost:9093"))
    theirs = started(tmp_path, Ports.usual())
    assert theirs.alertmanager_url == "http://localhost:9093"
    assert not description.has_own_alertmanager(theirs)


@pytest.mark.parametrize("said", ["/mnt/other/backups", ""])
def test_backups_lie_in_the_house_unless_an_operator_named_another_place_or_wants_none(
    tmp_path: Path, said: str
) -> None:
    usual = started(tmp_path, Ports.usual())
    assert usual.backups == str(tmp_path / "backups")
    description.write(msgspec.structs.replace(usual, backups=said))
    assert started(tmp_path, Ports.usual()).backups == said


def test_an_operator_may_choose_before_the_first_start(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"origin": "ledger.example/east", "audit": "/mnt/other/audit"}')
    house = started(tmp_path, Ports.usual())
    assert (house.origin, house.audit) == ("ledger.example/east", "/mnt/other/audit")
    assert house.audit_key == str(tmp_path / "audit-key" / "log.ed25519")


def test_what_lies_in_the_house_goes_with_it_and_what_lies_elsewhere_stays(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    description.write(msgspec.structs.replace(started(here, Ports.usual()), marks="/mnt/other/marks"))
    here.rename(there)
    house = started(there, Ports.usual())
    assert (house.audit, house.marks) == (str(there / "audit"), "/mnt/other/marks")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "cannot be read"),
        ('{"origin": 3}', "cannot be read"),
        ('{"audit": "audit"}', "write an absolute path"),
    ],
)
def test_a_description_that_says_nothing_clear_is_not_written_anew(
    tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(HouseError, match=sentence):
        description.kept(tmp_path)


def test_a_house_that_was_never_up_has_a_description_and_one_that_is_there_stays(tmp_path: Path) -> None:
    description.begin(tmp_path, "ledger.example/east", ("https://witness.example/add-checkpoint",))
    begun = load(tmp_path)
    assert (begun.origin, begun.witnesses) == (
        "ledger.example/east",
        ("https://witness.example/add-checkpoint",),
    )
    description.begin(tmp_path, "ledger.example/west")
    assert load(tmp_path) == begun
