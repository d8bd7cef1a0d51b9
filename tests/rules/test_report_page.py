"""The engineering page as a file: the same for everybody, sealed, legible, and asking nobody for anything."""

import asyncio
import datetime as dt
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.tlog.files import DirectoryFiles
from events.tlog.note import NoteError
from events.tlog.reader import Archive
from projections.demand.fold import Point
from replay.figures.clients import Clients, ClientsError
from replay.figures.clients import read as read_clients
from replay.figures.measured import Measured
from replay.page.axis import steps
from replay.page.curve import Curve, caption, end_of, figure
from replay.page.markup import Html, tag
from replay.page.style import DARK, LIGHT, TEXTS
from replay.page.whole import Seal
from replay.report import report, rows
from replay.source import ArchiveSource
from tests.rules.archives import SIGNER, STRANGER, MemoryFiles, seal, sealed
from tests.rules.report_day import Day, a_day
from virtscale.cli import app
from virtscale.invocation import UsageError

END = dt.datetime(2026, 11, 23, 10, 0, tzinfo=dt.UTC)
WINDOW = dt.timedelta(minutes=5)


@pytest.fixture(scope="module")
def day() -> Day:
    return a_day()


def made(files: MemoryFiles, note: str, vkey: str = SIGNER.vkey) -> tuple[Measured, str]:
    return asyncio.run(report(ArchiveSource(Archive(files)), Seal(note, vkey)))


def test_the_same_checkpoint_gives_the_same_bytes_even_of_a_ledger_that_has_grown(day: Day) -> None:
    files = MemoryFiles()
    early = seal(files, day.stored[:700])
    _, first = made(files, early)
    assert made(files, early)[1] == first
    late = seal(files, day.stored[700:])
    assert made(files, early)[1] == first
    assert made(files, late)[1] != first


def test_a_checkpoint_that_the_key_did_not_sign_gives_no_page(day: Day) -> None:
    files = MemoryFiles()
    note = seal(files, day.stored[:50])
    with pytest.raises(NoteError):
        made(files, note, STRANGER.vkey)


def test_the_figures_say_what_happened_or_that_nobody_knows(day: Day) -> None:
    files = sealed(day.stored)
    note = Archive(files).checkpoint_note()
    assert note is not None
    measured, text = made(files, note)
    found = {str(row["figure"]): row["value"] for row in rows(measured)}
    assert found["429 events / month"] == "2"
    assert found["Prediction horizon"] == "90 s"
    assert found["Substrate version"] == "qemu, libvirt 9.0.0"
    assert str(found["Mean idle ratio"]).endswith(" %")
    assert str(found["Reactivation p50"]).endswith(" ms")
    nobody = {name for name, value in found.items() if value == "no data"}
    assert nobody == {"Pre-warm hit rate", "Request latency tax", "Pool draw at idle"}
    for part in (*note.split("\n")[:3], measured.checkpoint.root.hex(), SIGNER.vkey, "acme/web", "acme/jobs"):
        assert part in text
    assert "acme/batch" in text


def some_clients(**changed: object) -> Clients:
    told = {
        "format": "virtscale.clients/1",
        "source": "a run of <b>somebody</b>",
        "began_at": END,
        "ended_at": END,
        "requests": 12_345,
        "failed": 2,
        "fresh": 90,
        "waited": 3,
        "wait_ms": 100.0,
        "fresh_seconds": 5,
        "steady_p50_ms": 4.2,
        "p50_ms": 4.3,
        "p99_ms": 20.0,
        "tax_ms": 1.26,
        "units": 5,
        "hits": 4,
        "absorbed": 1,
        "late": 0,
        "seconds": 600,
        "short_seconds": 0,
        **changed,
    }
    return read_clients(json.dumps(told, default=str).encode())


def test_what_clients_counted_stands_on_the_page_and_that_nobody_sealed_it(day: Day) -> None:
    files = sealed(day.stored[:300])
    note = Archive(files).checkpoint_note()
    assert note is not None
    seal_, seen = Seal(note, SIGNER.vkey), some_clients()
    measured, text = asyncio.run(report(ArchiveSource(Archive(files)), seal_, clients=seen))
    found = {str(row["figure"]): row for row in rows(measured, seen)}
    assert found["Request latency tax"]["value"] == "1.3 ms"
    assert "3 of 12,345 requests waited more than 100 ms, 2 failed." in text
    assert "sealed by nobody: a run of &lt;b&gt;somebody" in text
    assert "--clients CLIENTS" in text
    assert asyncio.run(report(ArchiveSource(Archive(files)), seal_, clients=seen))[1] == text
    faster = {str(row["figure"]): row for row in rows(measured, some_clients(tax_ms=-0.4))}
    assert faster["Request latency tax"]["value"] == "0.0 ms"
    nobody = {str(row["figure"]): row for row in rows(measured, some_clients(tax_ms=None, fresh=0))}
    assert nobody["Request latency tax"]["value"] == "no data"
    assert "None met a VM" in str(nobody["Request latency tax"]["note"])


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format": "virtscale.clients/2"}', b"\xff"])
def test_what_is_no_clients_file_is_refused(data: bytes) -> None:
    with pytest.raises(ClientsError, match="no file of what clients counted"):
        read_clients(data)


def test_an_empty_ledger_has_a_page_without_data() -> None:
    files = MemoryFiles()
    note = seal(files, ())
    measured, text = made(files, note)
    values = {row["value"] for row in rows(measured)}
    assert values == {"no data", "0"}
    assert "has no event yet" in text
    assert "1970" not in text


class Parsed(HTMLParser):
    """What a browser would do with the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.fetched: list[str] = []
        self.pictures: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        given_ = dict(attrs)
        self.fetched += [str(given_[name]) for name in ("src", "href", "srcset", "action") if name in given_]
        if "svg" in self.open:
            self.pictures[-1].append(tag)
        if tag == "svg" and given_.get("aria-hidden") != "true":
            assert given_["role"] == "img"
            self.pictures.append([])
        elif tag == "svg":
            self.pictures.append(["title", "desc"])
        if tag not in {"meta", "path", "rect", "line", "circle", "br", "hr"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if "svg" in self.open:
            self.pictures[-1].append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


def test_the_page_is_one_file_that_asks_for_nothing_and_every_picture_is_told_in_words(day: Day) -> None:
    files = sealed(day.stored)
    _, text = made(files, Archive(files).checkpoint_note() or "")
    parsed = Parsed()
    parsed.feed(text)
    parsed.close()
    assert parsed.open == []
    assert parsed.fetched == []
    assert not {"script", "iframe", "img", "link", "object", "form"} & set(parsed.seen)
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert all(picture[:2] == ["title", "desc"] for picture in parsed.pictures)
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in text
    assert '<html lang="en">' in text
    assert len(text.encode()) < 120_000


def test_what_is_text_stays_text() -> None:
    assert tag("p", "a < b & c", title='"x"') == '<p title="&quot;x&quot;">a &lt; b &amp; c</p>'
    assert tag("p", Html("<b>b</b>"), "<b>") == "<p><b>b</b>&lt;b&gt;</p>"
    assert tag("path", class_="grid", stroke_width=1) == '<path class="grid" stroke-width="1"/>'


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["by day", "by night"])
def test_text_and_lines_stand_out_from_what_they_lie_on(palette: dict[str, str]) -> None:
    def contrast(one: str, other: str) -> float:
        lower, higher = sorted((_luminance(palette[one]), _luminance(palette[other])))
        return (higher + 0.05) / (lower + 0.05)

    for text in TEXTS:
        for ground in ("paper", "card"):
            assert contrast(text, ground) >= 4.5, (text, ground)
    for line in ("serving", "demand"):
        for ground in ("awake", "most"):
            assert contrast(line, ground) >= 3.0, (line, ground)


# -------------------------------------------------------------------------------------------------------- curves


def point(place: int, serving: int = 2, mean: int | None = 1500, most: int = 1900) -> Point:
    """A window so many before the end."""
    begin = END - place * WINDOW
    return Point(begin, 60, mean, None if mean is None else most, serving, serving + 1, 3, serving)


def paths(picture: str, class_: str) -> list[str]:
    return re.findall(rf'<path class="{class_}" d="([^"]*)"/>', picture)


def test_a_gap_in_what_was_seen_is_a_gap_in_the_lines() -> None:
    whole = Curve("acme", "web", END, tuple(point(place) for place in range(288, 0, -1)))
    assert len(paths(figure(whole), "serving")) == len(paths(figure(whole), "demand")) == 1
    torn = Curve("acme", "web", END, tuple(one for one in whole.points if not 5 <= one.window_from.hour < 7))
    assert len(paths(figure(torn), "serving")) == len(paths(figure(torn), "demand")) == 2
    blind = tuple(point(place, mean=None if 100 <= place < 120 else 1500) for place in range(288, 0, -1))
    picture = figure(Curve("acme", "web", END, blind))
    assert (len(paths(picture, "serving")), len(paths(picture, "demand"))) == (1, 2)


def test_a_picture_is_told_in_words_with_its_peak_and_how_often_capacity_was_short() -> None:
    points = (point(3), point(2, serving=1, mean=1500), point(1, serving=3, mean=2960, most=3100))
    told = caption(Curve("acme", "web", END, points))
    assert told == (
        "VMs serving: 1 to 3. VMs awake: 2 to 4. Demand: at most 2.9 VMs, at 09:55; above capacity in 1 of 3 windows. "
        "Seen: 3 of 288 windows."
    )
    silent = caption(Curve("acme", "web", END, (point(1, mean=None),)))
    assert "Demand: no data" in silent


def test_a_pool_that_nobody_looked_at_has_no_data() -> None:
    assert "no data" in figure(Curve("acme", "web", END, ()))


def test_the_pictures_end_with_the_window_of_the_newest_event() -> None:
    assert end_of(END) == END
    assert end_of(END + dt.timedelta(microseconds=1)) == END + WINDOW


def test_all_that_is_drawn_lies_within_the_picture() -> None:
    points = tuple(
        point(place, serving=place % 7, mean=place * 37 % 9000, most=9000) for place in range(288, 0, -1)
    )
    picture = figure(Curve("a" * 40, "b" * 32, END, points))
    numbers = [
        float(one) for path in re.findall(r' d="([^"]*)"', picture) for one in re.findall(r"-?[\d.]+", path)
    ]
    assert min(numbers) >= 0
    assert max(numbers) <= 360


@given(st.integers(min_value=0, max_value=10**9), st.integers(min_value=2, max_value=8))
def test_an_axis_has_few_round_steps_and_holds_the_highest(most: int, ticks: int) -> None:
    step, top = steps(most, ticks)
    assert top >= max(most, 1)
    assert top % step == 0
    assert 1 <= top // step <= ticks
    assert str(step).rstrip("0") in {"1", "2", "5"}


# ------------------------------------------------------------------------------------------------------- command


def test_the_command_writes_the_page_and_shows_its_figures(
    tmp_path: Path, day: Day, capsys: pytest.CaptureFixture[str]
) -> None:
    seal(DirectoryFiles(tmp_path / "export"), day.stored[:300])
    page = tmp_path / "engineering.html"
    words = ["replay", "report", "--from", str(tmp_path / "export"), "--output", str(page), "-o", "json"]
    assert app(words, exit_on_error=False, result_action="return_value") == 0
    said = capsys.readouterr()
    figures = json.loads(said.out)
    assert [row["figure"] for row in figures][:2] == ["Mean idle ratio", "Reactivation p50"]
    assert "from events 1 to 300 of ledger.example.net/one" in said.err
    first = page.read_bytes()
    kept = tmp_path / "kept"
    kept.write_bytes((tmp_path / "export" / "checkpoint").read_bytes())
    seal(DirectoryFiles(tmp_path / "export"), day.stored[300:400])
    assert app([*words, "--checkpoint", str(kept)], exit_on_error=False, result_action="return_value") == 0
    assert page.read_bytes() == first
    seen = tmp_path / "clients.json"
    seen.write_bytes(msgspec.json.encode(some_clients()))
    assert app([*words, "--clients", str(seen)], exit_on_error=False, result_action="return_value") == 0
    assert b"1.3 ms" in page.read_bytes()
    with pytest.raises(UsageError, match="The clients' file"):
        app([*words, "--clients", str(tmp_path / "none")], exit_on_error=False, result_action="return_value")
