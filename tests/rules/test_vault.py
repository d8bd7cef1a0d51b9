import stat
from pathlib import Path

import pytest

from events.vault import ErasedError, Vault, VaultError

MAIL = {"mail": "owner@acme.test"}


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "vault")


def everything(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def test_what_is_put_in_is_given_back_and_nothing_of_it_lies_open(vault: Vault, tmp_path: Path) -> None:
    vault.put("acme-owner", MAIL)
    assert vault.contact("acme-owner") == "owner@acme.test"
    assert vault.shown("acme-owner") == "owner@acme.test"
    assert b"owner@acme" not in everything(tmp_path)


def test_a_commitment_fits_what_was_committed_to_and_nothing_else(vault: Vault) -> None:
    commitment = vault.put("acme-owner", MAIL)
    assert len(commitment) == 64
    assert vault.check("acme-owner", commitment) is True
    assert vault.check("acme-owner", "0" * 64) is False
    assert vault.put("acme-owner", MAIL) == commitment, "putting the same again changes nothing"
    assert vault.put("beta-owner", MAIL) != commitment, "two people with one address are not seen to share it"
    assert vault.put("acme-owner", {"mail": "new@acme.test"}) != commitment
    assert vault.check("acme-owner", commitment) is False


def test_erasing_destroys_the_key_for_good(vault: Vault, tmp_path: Path) -> None:
    commitment = vault.put("acme-owner", MAIL)
    (key,) = (tmp_path / "vault" / "keys").iterdir()
    kept_elsewhere = key.read_bytes()
    with key.open("rb") as held_open:
        assert vault.erase("acme-owner") is True
        assert held_open.read() != kept_elsewhere, "the bytes on disk were overwritten, not only unlinked"
    assert not key.exists()
    assert vault.contact("acme-owner") is None
    assert vault.shown("acme-owner") == "erased"
    assert vault.check("acme-owner", commitment) is None
    assert kept_elsewhere not in everything(tmp_path)


def test_erasing_is_safe_to_repeat_and_tells_whether_there_was_anybody(vault: Vault) -> None:
    vault.put("acme-owner", MAIL)
    assert vault.erase("nobody") is False
    assert [vault.erase("acme-owner") for _ in range(3)] == [True, True, True]
    assert vault.shown("nobody") == "unknown"


def test_an_erase_that_was_cut_short_is_finished_by_the_next(vault: Vault, tmp_path: Path) -> None:
    vault.put("acme-owner", MAIL)
    tombstone = tmp_path / "vault" / "erased" / "acme-owner"
    tombstone.parent.mkdir()
    tombstone.touch()  # killed right after the tombstone was written
    assert vault.contact("acme-owner") is None
    assert vault.erase("acme-owner") is True
    assert not list((tmp_path / "vault" / "keys").iterdir())


def test_nobody_comes_back_under_an_erased_id(vault: Vault) -> None:
    vault.put("acme-owner", MAIL)
    vault.erase("acme-owner")
    with pytest.raises(ErasedError):
        vault.put("acme-owner", MAIL)


def test_every_file_is_readable_by_its_owner_alone(vault: Vault, tmp_path: Path) -> None:
    vault.put("acme-owner", MAIL)
    vault.put("gone", MAIL)
    vault.erase("gone")
    loose = [path for path in (tmp_path / "vault").rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert loose == []
    key = tmp_path / "vault" / "keys" / "acme-owner.key"
    key.chmod(0o644)
    with pytest.raises(VaultError, match="chmod 600"):
        vault.contact("acme-owner")


def test_values_of_one_person_do_not_open_in_the_place_of_another(vault: Vault, tmp_path: Path) -> None:
    vault.put("acme-owner", MAIL)
    vault.put("beta-owner", {"mail": "owner@beta.test"})
    root = tmp_path / "vault"
    for folder, ending in (("keys", "key"), ("values", "sealed")):
        taken = (root / folder / f"acme-owner.{ending}").read_bytes()
        (root / folder / f"beta-owner.{ending}").write_bytes(taken)
    with pytest.raises(VaultError, match="altered"):
        vault.contact("beta-owner")


def test_a_changed_byte_is_noticed(vault: Vault, tmp_path: Path) -> None:
    vault.put("acme-owner", MAIL)
    sealed = tmp_path / "vault" / "values" / "acme-owner.sealed"
    content = bytearray(sealed.read_bytes())
    content[-1] ^= 1
    sealed.write_bytes(content)
    with pytest.raises(VaultError, match="altered"):
        vault.contact("acme-owner")


@pytest.mark.parametrize("person", ["../keys/acme", "a/b", "", "Acme", "x" * 41, "acme\n"])
def test_what_is_no_name_never_becomes_a_file(vault: Vault, person: str) -> None:
    for action in (vault.contact, vault.erase, vault.presence):
        with pytest.raises(VaultError):
            action(person)
    with pytest.raises(VaultError):
        vault.put(person, MAIL)


def test_a_person_without_a_mail_address_is_not_stored(vault: Vault) -> None:
    with pytest.raises(VaultError):
        vault.put("acme-owner", {"phone": "1"})
    assert vault.presence("acme-owner") == "unknown"


def test_what_a_vm_was_told_is_gone_for_good_and_its_name_is_free(vault: Vault, tmp_path: Path) -> None:
    commitment = vault.put_seed("seed-db", "ssh-ed25519 AAAA")
    (key,) = (tmp_path / "vault" / "keys").iterdir()
    with key.open("rb") as held_open:
        before = key.read_bytes()
        assert vault.forget_seed("seed-db", commitment) is True
        assert held_open.read() != before, "overwritten, not only unlinked"
    assert vault.seed("seed-db", commitment) is None
    assert [vault.forget_seed("seed-db", commitment) for _ in range(2)] == [False, False]
    again = vault.put_seed("seed-db", "ssh-ed25519 AAAA")
    assert again != commitment
    assert vault.forget_seed("seed-db", commitment) is False
    assert vault.seed("seed-db", again) == "ssh-ed25519 AAAA", "another VM of that name was told it"


def test_forgetting_that_was_cut_short_is_finished_by_the_next(vault: Vault, tmp_path: Path) -> None:
    commitment = vault.put_seed("seed-db", "text")
    (tmp_path / "vault" / "values" / "seed-db.sealed").unlink()
    assert vault.forget_seed("seed-db", commitment) is True
    assert list((tmp_path / "vault" / "keys").iterdir()) == []


def test_nobody_is_forgotten_because_a_request_calls_them_a_seed(vault: Vault, tmp_path: Path) -> None:
    commitment = vault.put("acme-owner", MAIL)
    assert vault.forget_seed("acme-owner", commitment) is False
    assert vault.contact("acme-owner") == "owner@acme.test"
    key = tmp_path / "vault" / "keys" / "acme-owner.key"
    key.chmod(0o644)
    with pytest.raises(VaultError, match="chmod 600"):
        vault.forget_seed("acme-owner", commitment)
    assert key.exists()
