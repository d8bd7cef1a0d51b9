"""What a VM is told at its first boot: each request has its own, and one that came to nothing leaves none in the vault."""

from pathlib import Path

import pytest

from events.vault import Vault
from schemas.house import House
from schemas.intake import Rejection
from schemas.request import SeedRef
from schemas.vm_intake import CreateVm
from virtscale.ask import TurnedAwayError
from virtscale.exits import EXIT_DONE, EXIT_REFUSED
from virtscale.invocation import UsageError
from virtscale.vms import asking
from virtscale.vms.asking import Told, seeded


@pytest.fixture
def house(tmp_path: Path) -> House:
    paths = (
        "directory",
        "keys",
        "signing_keys",
        "contracts",
        "pools",
        "templates",
        "vault",
        "audit",
        "marks",
    )
    unused = ("bus_url", "balancer_socket", "balancer_config", "balancer_base", "smtp_host", "prometheus_url")
    return House(
        hosts=(),
        smtp_port=1,
        metrics_port=1,
        audit_key="",
        origin="ledger.test/house",
        **{name: str(tmp_path / name) for name in paths},
        **dict.fromkeys(unused, ""),
    )


def words(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "user-data"
    path.write_text(f"#cloud-config\n# {text}\n")
    return path


def ask(house: House, seed: SeedRef) -> int:
    request = CreateVm(pool="apps", vm="db", key="k", actor="kim", seed=seed)
    return asking.ask(house, "acme", request, 1.0, "table")


def test_who_asks_for_a_name_that_is_taken_changes_nothing_of_what_its_vm_is_told(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = seeded(house, "acme", "db", "one", words(tmp_path, "the first"), [])
    second = seeded(house, "acme", "db", "two", words(tmp_path, "the second"), [])
    assert first is not None
    assert second is not None
    vault = Vault(house.vault)
    assert "instance" in (vault.seed(first.name, first.commitment) or "")
    for outcome, code in (("admitted", EXIT_DONE), ("refused", EXIT_REFUSED)):

        async def asked(*_: object, said: str = outcome, ended: int = code) -> tuple[Told, int]:
            return Told("acme/db", said, "Granted", "", (), None, 0.1), ended

        monkeypatch.setattr(asking, "_asked", asked)
        assert ask(house, second) == code
        there = vault.seed(second.name, second.commitment) is not None
        assert there is (outcome == "admitted")
    assert vault.seed(first.name, first.commitment) is not None


def test_what_was_to_be_told_to_a_vm_that_was_turned_away_is_not_kept(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def turned_away(*_: object) -> tuple[Told, int]:
        raise TurnedAwayError(Rejection("PoolUnknown", "The org acme has no pool apps. Nothing was stored."))

    seed = seeded(house, "acme", "db", "one", words(tmp_path, "a secret"), [])
    assert seed is not None
    monkeypatch.setattr(asking, "_asked", turned_away)
    with pytest.raises(TurnedAwayError):
        ask(house, seed)
    assert Vault(house.vault).seed(seed.name, seed.commitment) is None


def test_a_file_that_cannot_be_read_is_said_and_nothing_is_kept(house: House, tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    noise.write_bytes(b"\xff\xfe")
    for user_data, keys, says in (
        (tmp_path / "none", [], "cannot be read: No such file or directory."),
        (tmp_path, [], "cannot be read: Is a directory."),
        (None, [noise], "is no public key: it holds no text."),
    ):
        with pytest.raises(UsageError) as refused:
            seeded(house, "acme", "db", "one", user_data, keys)
        assert says in str(refused.value)
    assert not (tmp_path / "vault").exists()
