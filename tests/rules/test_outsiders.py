"""Commands that need the house's files alone: people in the vault, and outsiders who get a key."""

import datetime as dt
import json
from pathlib import Path

import msgspec
import pytest

from events.vault import Vault, VaultError
from schemas.house import FILE, VARIABLE, House
from virtscale import cli, publishers
from virtscale.exits import EXIT_NOT_FOUND
from virtscale.founding import OWNER, found
from virtscale.spoken import SPOKEN


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A house as it is founded, and no part of it running."""
    here = House(
        directory=str(tmp_path),
        bus_url="nats://127.0.0.1:1",
        keys=str(tmp_path / "keys"),
        signing_keys=str(tmp_path / "signing"),
        contracts=str(tmp_path / "contracts"),
        pools=str(tmp_path / "pools"),
        templates=str(tmp_path / "templates"),
        vault=str(tmp_path / "vault"),
        hosts=(),
        balancer_socket="",
        balancer_config="",
        balancer_base="",
        smtp_host="127.0.0.1",
        smtp_port=1,
        prometheus_url="http://127.0.0.1:1",
        metrics_port=1,
        audit="",
        audit_key="",
        origin="ledger.test/house",
        marks="",
    )
    found(here, dt.datetime(2026, 11, 22, tzinfo=dt.UTC))
    (tmp_path / FILE).write_bytes(msgspec.json.encode(here))
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return here


def test_a_person_is_known_erased_or_unknown(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    def shown(person: str) -> str:
        assert cli.show_person(person, output="json") == 0
        [row] = json.loads(capsys.readouterr().out)
        return row["mail"]

    assert shown(OWNER) == "owner@acme.example"
    assert shown("nobody") == "unknown"
    Vault(house.vault).erase(OWNER)
    assert shown(OWNER) == "erased"


def test_what_is_no_person_id_is_refused_as_wrong_usage(house: House) -> None:
    for command in (cli.show_person, cli.erase):
        with pytest.raises(cli.UsageError, match="'No Name' is no person id"):
            command("No Name")


def test_what_the_vault_cannot_give_is_said_in_one_sentence(house: House) -> None:
    (Path(house.vault) / "keys" / f"{OWNER}.key").chmod(0o644)
    with pytest.raises(VaultError, match="can be read by others: run") as caught:
        cli.show_person(OWNER)
    assert isinstance(caught.value, SPOKEN)


def test_an_org_without_a_contract_and_a_pool_gets_no_publisher(house: House) -> None:
    with pytest.raises(
        publishers.OrgUnknownError, match=r"The org globex has no contract in .* no pool"
    ) as caught:
        publishers.add(house, "globex", "shop")
    assert caught.value.exit_code == EXIT_NOT_FOUND
    assert isinstance(caught.value, SPOKEN)
    assert publishers.all_of(Path(house.directory)) == ()
    assert not Path(house.keys).exists()


def test_an_org_with_a_pool_alone_is_known(house: House) -> None:
    (Path(house.contracts) / "acme.toml").unlink()
    assert publishers.add(house, "acme", "shop").exists()


def test_an_added_publisher_can_be_read_by_programs(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.add("acme", "shop", output="json") == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["org"], row["publisher"], row["publishes"]) == ("acme", "shop", "in.acme.shop.>")
    assert Path(row["key"]).resolve().stat().st_mode & 0o777 == 0o600
    assert [permit.name for permit in publishers.all_of(Path(house.directory))] == ["acme_shop"]
