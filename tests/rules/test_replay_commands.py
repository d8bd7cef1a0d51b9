"""`virtscale replay rebuild`, `at`, `diff` and `digest` over an export, where no bus is."""

import io
import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from events.bus.memory import MemoryServer
from events.bus.port import Outgoing, Stored
from events.envelope import Recorded, address
from events.lock import hold
from events.tlog.files import DirectoryFiles
from schemas.house import VARIABLE
from tests.given import Past
from tests.rules.archives import seal
from virtscale import cli
from virtscale.history import place
from virtscale.invocation import UsageError
from virtscale.progress import Progress

Run = Callable[..., tuple[int, str, str]]


def on_the_wire(lines: list[Recorded]) -> list[Stored]:
    """The events as a bus stores them."""
    server = MemoryServer(lambda: 0)
    for line in lines:
        host = getattr(line.fact, "host", "")
        writer = f"waker-{host}" if line.writer == "waker" else line.writer
        event = address(
            line.fact,
            writer=writer,
            id=line.id,
            time=line.time,
            cause=line.cause,
            correlation=line.correlation,
        )
        server.put([Outgoing(event.subject, event.id, event.payload)], batch=False)
    second = 1_000_000_000
    return [
        Stored(one.seq, 1_795_338_000 * second + one.seq * second, one.subject, one.id, one.payload)
        for one in server.ledger.messages
    ]


@pytest.fixture
def past() -> Past:
    """One VM slept, was woken, and serves."""
    past = Past().contract(vcpu=10).pool("web").host().asleep("web", 1)
    past.scale("web", add=1)
    past.round()
    past.ready("web-1")
    past.announced("web-1")
    return past


@pytest.fixture
def export(past: Past, tmp_path: Path) -> Path:
    seal(DirectoryFiles(tmp_path / "export"), on_the_wire(past.lines))
    return tmp_path / "export"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`virtscale replay WORDS`: exit code, standard output, standard error."""
    (tmp_path / "house").mkdir()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "house"))

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["virtscale", "replay", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return command


def test_a_rebuild_says_the_digest_that_the_file_has(
    run: Run, export: Path, tmp_path: Path, past: Past
) -> None:
    code, out, err = run("rebuild", "--from", str(export), "-o", "json")
    assert code == 0
    assert f"holds the views as of sequence {past.seq}" in err
    built = json.loads(out)
    assert built["seq"] == past.seq
    assert {one["table"]: one["rows"] for one in built["tables"]}["requests"] == 1
    code, out, _ = run("digest", str(tmp_path / "house" / "views.rebuilt.db"), "-o", "json")
    assert (code, json.loads(out)) == (0, built)
    assert run("rebuild", "--from", str(export), "-o", "json")[1] == json.dumps(built, indent=2) + "\n"


def test_one_view_up_to_a_place_is_built_into_the_file_that_is_named(
    run: Run, export: Path, tmp_path: Path
) -> None:
    path = tmp_path / "some.db"
    code, out, err = run("rebuild", "vms", "--until", "5", "--output", str(path), "--from", str(export))
    assert code == 0
    assert out.split()[:3] == ["VIEW", "ROWS", "SHA256"]
    assert out.split()[3:5] == ["vms", "1"]
    assert "as of sequence 5" in err
    assert sorted(one.name for one in tmp_path.glob("some.db*")) == ["some.db", "some.db.lock"]


def test_a_view_is_shown_as_it_was(run: Run, export: Path, past: Past) -> None:
    state = {
        seq: json.loads(run("at", str(seq), "vms", "--from", str(export), "-o", "json")[1])[0]["state"]
        for seq in range(past.seq - 5, past.seq + 1)
    }
    assert list(state.values()) == ["quiesced", "waking", "waking", "waking", "warm", "serving"]


def test_an_instant_is_the_last_event_that_was_stored_by_then(run: Run, export: Path) -> None:
    moment = "2026-11-22T09:00:07Z"
    by_time = run("at", moment, "vms", "--from", str(export))
    assert by_time[2] == "as of sequence 7\n"
    assert by_time == run("at", "7", "vms", "--from", str(export))
    assert run("at", "2026-11-22T09:00:06.999999", "--from", str(export))[2].startswith("as of sequence 6\n")


def test_what_changed_is_said_by_column(run: Run, export: Path, past: Past) -> None:
    code, out, err = run("diff", str(past.seq - 6), str(past.seq), "--from", str(export), "-o", "json")
    assert (code, err) == (0, f"from sequence {past.seq - 6} to {past.seq}\n")
    found = {(one["table"], one["change"]): one for one in json.loads(out)["differences"]}
    vm = found["vms", "changed"]
    assert (vm["before"]["state"], vm["after"]["state"]) == ("quiesced", "serving")
    assert "name" not in vm["before"]
    assert ("requests", "come") in found
    code, out, _ = run("diff", str(past.seq - 1), str(past.seq), "vms", "--from", str(export))
    assert "state: warm -> serving" in out
    assert run("diff", "3", "3", "--from", str(export))[2].endswith("nothing differs\n")


def test_an_export_in_one_file_is_read_as_well(run: Run, export: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "export.tar", "w") as tar:
        for path in sorted(export.rglob("*")):
            if path.is_file():
                member = tarfile.TarInfo(str(path.relative_to(export)))
                member.size = path.stat().st_size
                tar.addfile(member, io.BytesIO(path.read_bytes()))
    one, other = (run("at", "9", "--from", str(place)) for place in (export, tmp_path / "export.tar"))
    assert one == other
    assert one[0] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("at", "yesterday"), "'yesterday' is no place in the ledger"),
        (("at", "5", "people"), "'people' is no view: choose of hosts, pools, vms,"),
        (("diff", "9", "3"), "3 lies before 9: write the earlier one first."),
        (
            ("rebuild", "--output", "/no/where/views.db"),
            "There is no directory /no/where to write views.db in.",
        ),
        (("rebuild", "--output", "/"), "/ is a directory: name a file to write."),
        (("rebuild", "--output", "/proc/views.db"), "/proc/views.db cannot be written: "),
        (("rebuild", "--output", "a" * 300), "cannot be written: File name too long."),
        (
            ("report", "--output", "/no/where/page.html"),
            "There is no directory /no/where to write page.html in.",
        ),
        (("report", "--output", "/proc/page.html"), "/proc/page.html cannot be written: "),
        (("at", "9" * 5000), "is no place in the ledger"),
        (("at", "0001-01-01T00:00:00+14:00"), "'0001-01-01T00:00:00+14:00' is no place in the ledger"),
        (("at", "9999-12-31T23:59:59-14:00"), "'9999-12-31T23:59:59-14:00' is no place in the ledger"),
    ],
)
def test_wrong_usage_is_said_in_a_sentence(run: Run, words: tuple[str, ...], sentence: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.endswith("[UsageWrong]\n")


def test_a_report_that_comes_to_nothing_leaves_the_page_before_it_and_no_draft(
    run: Run, tmp_path: Path
) -> None:
    page, empty = tmp_path / "page.html", tmp_path / "empty"
    empty.mkdir()
    page.write_text("the page before")
    code, _, err = run("report", "--output", str(page), "--from", str(empty))
    assert code == 1, err
    assert page.read_text() == "the page before"
    assert not list(tmp_path.glob("page.html.*"))


def test_what_is_no_export_or_no_file_of_views_is_refused(run: Run, tmp_path: Path) -> None:
    code, _, err = run("at", "1", "--from", str(tmp_path))
    assert code == 1
    assert "holds no archive of a ledger" in err
    assert err.endswith("[ExportUnreadable]\n")
    (tmp_path / "text.db").write_text("this is no file of SQLite, but long enough to be looked at\n" * 99)
    for name in ("none.db", "text.db"):
        code, _, err = run("digest", str(tmp_path / name))
        assert code == 1
        assert err.endswith("[ViewsUnreadable]\n")


def test_the_views_of_a_house_that_is_up_are_not_taken_from_under_it(
    run: Run, export: Path, tmp_path: Path
) -> None:
    own = str(tmp_path / "house" / "views.db")
    with hold(tmp_path / "house" / "up.lock", "it"):
        code, _, err = run("rebuild", "--from", str(export), "--output", own)
        assert code == 1
        assert "is up and writes views.db already" in err
        assert err.endswith("[Taken]\n")
    assert run("rebuild", "--from", str(export), "--output", own)[0] == 0
    assert run("digest")[0] == 0


def test_a_place_without_an_offset_is_in_utc() -> None:
    assert place("2026-11-22T03:14:05") == place("2026-11-22T04:14:05+01:00")
    assert place("17") == 17
    with pytest.raises(UsageError):
        place("-3")


def test_progress_is_shown_to_a_person_and_to_nobody_else() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for out, shown in ((Terminal(), True), (io.StringIO(), False)):
        with Progress("rebuild", out=out) as progress:
            progress(256, 1000)
            progress(1000, 1000)
        said = out.getvalue()
        assert bool(said) is shown
        assert not shown or "1,000 of 1,000 events" in said.split("\r")[-1]
