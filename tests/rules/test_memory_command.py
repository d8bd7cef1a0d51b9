"""`virtscale vm explain-memory` says where a guest's memory goes, of a VM of the house, a size or an amount."""

import json
import sqlite3
from pathlib import Path

import msgspec
import pytest

from projections.directory.table import TABLES as DIRECTORY
from projections.fleet.table import TABLES
from schemas.house import FILE, VARIABLE, House
from schemas.image import ImageError
from virtscale import cli
from virtscale.crew import VIEWS
from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND
from virtscale.invocation import UsageError
from virtscale.spoken import SPOKEN
from virtscale.vms.showing import show_one


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A house with three VMs: of the lab, of a managed template, and one whose name two orgs have."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    templates = tmp_path / "templates"
    for name in ("tiny", "nixos"):
        (templates / name).mkdir(parents=True)
    (templates / "nixos" / "image.toml").write_text('kind = "nixos-managed"\n')
    described = House(
        directory=str(tmp_path),
        bus_url="",
        keys="",
        signing_keys="",
        contracts="",
        pools="",
        templates=str(templates),
        vault="",
        hosts=(),
        balancer_socket="",
        balancer_config="",
        balancer_base="",
        smtp_host="",
        smtp_port=1,
        prometheus_url="",
        metrics_port=1,
        audit="",
        audit_key="",
        origin="",
        marks="",
    )
    (tmp_path / FILE).write_bytes(msgspec.json.encode(described))
    base = sqlite3.connect(tmp_path / VIEWS)
    for table in (*TABLES, *DIRECTORY):
        base.execute(table.create)
    base.execute(
        "INSERT INTO directory (org, vm, pool, image, size, memory_mib) VALUES ('acme', 'db', 'web', 'nixos', 'own', 4096)"
    )
    vms = [("acme", "web", "tiny", 96), ("acme", "jobs", "nixos", 4096), ("globex", "web", "tiny", 96)]
    for org, pool, template, memory_mib in vms:
        base.execute("INSERT INTO pools (org, pool, template) VALUES (?, ?, ?)", (org, pool, template))
        base.execute(
            "INSERT INTO vms (org, vm, pool, size, memory_mib) VALUES (?, ?, ?, 'own', ?)",
            (org, f"{pool}-1", pool, memory_mib),
        )
    base.commit()
    base.close()
    return tmp_path


def run(*words: str) -> object:
    return cli.app(["vm", "explain-memory", *words], exit_on_error=False, result_action="return_value")


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert run(*words, "--json") == EXIT_DONE
    return json.loads(capsys.readouterr().out)


def test_a_vm_is_explained_by_its_own_memory_and_its_templates_image(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = told(capsys, "acme/jobs-1")
    assert (jobs["vm"], jobs["memory_mib"], jobs["image"], jobs["verdict"]) == (
        "acme/jobs-1",
        4096,
        "nixos-managed",
        "peaks-fit",
    )
    web = told(capsys, "acme/web-1")
    assert (web["memory_mib"], web["image"], web["floor_mib"]) == (96, "lab", 0)
    as_managed = told(capsys, "acme/web-1", "--image", "nixos-managed")
    assert as_managed["verdict"] == "below-floor"


def test_a_vm_that_is_kept_is_explained_by_its_own_image_also_before_it_ever_ran(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = told(capsys, "acme/db")
    assert (db["vm"], db["memory_mib"], db["image"]) == ("acme/db", 4096, "nixos-managed")


def test_a_vm_that_comes_and_goes_with_demand_is_not_looked_for_among_those_that_are_kept(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show_one("acme/web-1", "table") == EXIT_NOT_FOUND
    assert "There is no VM acme/web-1 that is kept: `virtscale vm list`" in capsys.readouterr().err


def test_a_vm_is_found_by_its_name_where_only_one_org_has_it(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, "jobs-1")["vm"] == "acme/jobs-1"
    with pytest.raises(UsageError, match=r"a VM web-1: write one of acme/web-1, globex/web-1\."):
        run("web-1")


def test_a_vm_that_is_not_there_is_not_found(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("acme/web-9") == EXIT_NOT_FOUND
    assert "There is no VM acme/web-9" in capsys.readouterr().err


def test_a_template_that_states_its_image_unreadably_is_said_in_one_sentence(house: Path) -> None:
    (house / "templates" / "nixos" / "image.toml").write_text("kind = ")
    with pytest.raises(ImageError) as caught:
        run("acme/jobs-1")
    assert isinstance(caught.value, SPOKEN)


def test_the_table_has_the_parts_their_sum_the_floor_and_the_swap(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--memory-mib", "3072", "--alloy", "--filebeats", "2") == EXIT_DONE
    said = capsys.readouterr()
    lines = {line.rsplit(maxsplit=1)[0]: line.rsplit(maxsplit=1)[1] for line in said.out.splitlines()[1:]}
    assert {" ".join(name.split()): amount for name, amount in lines.items()} == {
        "kernel kernel structures": "150",
        "management system management": "1126",
        "telemetry Telegraf": "256",
        "telemetry Sensu": "256",
        "telemetry Alloy": "256",
        "telemetry Filebeat, 2 of them": "200",
        "telemetry systemd journal": "100",
        "telemetry Fail2ban": "100",
        "userland Linux userland": "100",
        "cache buffers and VFS cache": "1024",
        "all if everything peaks at once": "3568",
        "guest memory": "3072",
        "guest left for the work at the peak": "-496",
        "guest least memory": "3072",
        "guest swap, used at swappiness 1": "1773",
    }
    assert said.err.startswith("nixos-managed, peaks-exceed: 3072 MiB are enough")


def test_a_size_is_explained_without_a_house(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "--size", "vc.s")["verdict"] == "below-floor"
    own = told(capsys, "--size", "2x8192", "--image", "cloud-init")
    assert (own["vm"], own["size"], own["memory_mib"]) == (None, "custom-2x8192", 8192)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ((), "UsageWrong", "Name one of these: a VM"),
        (("acme/web-1", "--size", "vs.s"), "UsageWrong", "Name one of these: a VM"),
        (("--size", "vs.s", "--memory-mib", "4096"), "UsageWrong", "Name one of these: a VM"),
        (("--size", "vs.huge"), "SizeUnknown", "is no size: choose vs"),
        (("--size", "0x8192"), "VcpuTooFew", "at least 1 vCPU"),
        (("--memory-mib", "5"), "UsageWrong", "A VM has no 5 MiB of memory"),
        (("Acme/Web",), "UsageWrong", "names no VM: write ORG/VM"),
        (("/web-1",), "UsageWrong", "names no VM: write ORG/VM"),
    ],
)
def test_wrong_usage_is_said_in_one_sentence(words: tuple[str, ...], code: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        run(*words)
    assert caught.value.code == code
