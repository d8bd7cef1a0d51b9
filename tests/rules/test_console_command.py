"""`virtscale vm console` where there is no line to be had; with a real guest it is in tests/seams/test_guest_seed.py."""

import sqlite3
from pathlib import Path

import msgspec
import pytest

from projections.fleet.table import TABLES
from schemas.house import FILE, VARIABLE, HostPlace, House
from virtscale import cli
from virtscale.crew import VIEWS
from virtscale.exits import EXIT_NOT_FOUND
from virtscale.invocation import UsageError
from virtscale.spoken import SPOKEN
from virtscale.vms.errors import ConsoleError


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two VMs: one on a host that does not answer, one on a host that was removed."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    away = HostPlace("h1", f"qemu:///session?socket={tmp_path}/none", "tcg", 1024, 21_000)
    paths = {
        field.name: "" for field in msgspec.structs.fields(House) if field.type is str and field.required
    }
    rest = {"hosts": (away,), "smtp_port": 1, "metrics_port": 1, "directory": str(tmp_path)}
    described = msgspec.convert({**paths, **rest}, House)
    (tmp_path / FILE).write_bytes(msgspec.json.encode(described))
    base = sqlite3.connect(tmp_path / VIEWS)
    for table in TABLES:
        base.execute(table.create)
    for vm, host in (("web-1", "h1"), ("web-2", "h9")):
        base.execute(
            "INSERT INTO vms (org, vm, pool, host, state) VALUES ('acme', ?, 'web', ?, 'serving')", (vm, host)
        )
    base.commit()
    base.close()
    return tmp_path


def run(*words: str) -> object:
    return cli.app(["vm", "console", *words], exit_on_error=False, result_action="return_value")


def test_a_host_that_does_not_answer_is_named(house: Path) -> None:
    with pytest.raises(ConsoleError, match=f"libvirt at .*{house.name}/none cannot be reached") as caught:
        run("acme/web-1")
    assert isinstance(caught.value, SPOKEN)
    assert caught.value.code == "ConsoleUnavailable"


def test_a_vm_on_a_host_that_was_removed_has_no_line(house: Path) -> None:
    with pytest.raises(
        ConsoleError, match="acme/web-2 is on host h9, which the house does not know any more"
    ):
        run("web-2")


def test_a_vm_that_is_not_there_is_not_found(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("acme/web-3") == EXIT_NOT_FOUND
    assert "There is no VM acme/web-3" in capsys.readouterr().err


def test_what_names_no_vm_is_wrong_usage(house: Path) -> None:
    with pytest.raises(UsageError, match="names no VM"):
        run("acme/Web 1")
