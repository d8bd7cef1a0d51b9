"""Traces as people have them: which forms are read, and what becomes of every row that is not in order."""

import bz2
import datetime as dt
import gzip
import io
import random
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from replay.backtest import rows
from replay.backtest.rows import TraceError
from replay.backtest.trace import Trace, load

UTC = dt.UTC


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "demand.csv"


def loaded(file: Path, text: str, step: int = 60, **said: object) -> Trace:
    file.write_text(text)
    return load(file, step, **said)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "text",
    [
        "time,value\n2026-06-01 00:00:00,5\n2026-06-01 00:01:00,6\n2026-06-01 00:02:00,7\n",
        "2026-06-01T00:00:00Z,5\n2026-06-01T00:01:00Z,6\n2026-06-01T00:02:00Z,7\n",
        "2026-06-01T02:00:00+02:00;5\n2026-06-01T02:01:00+02:00;6\n2026-06-01T02:02:00+02:00;7\n",
        "2026/06/01 00:00\t5\n2026/06/01 00:01\t6\n2026/06/01 00:02\t7\n",
        '"when","what"\n"1780272000","5"\n"1780272060","6"\n"1780272120","7"\n',
        "1780272000000,5\n1780272060000,6\n1780272120000,7\n",
        "1780272000 5\n1780272060 6\n1780272120 7\n",
        "2026-06-01 00:00:00 5\n2026-06-01 00:01:00 6\n2026-06-01 00:02:00 7\n",
        "# made by hand\nsome words about it\ntime,value,note\n1780272000,5,a\n1780272060,6,b\n1780272120,7,c\n",
        "\ufefftime,value\r\n1780272000,5\r\n1780272060,6\r\n1780272120,7\r\n",
    ],
)
def test_times_are_read_in_the_forms_that_files_have(file: Path, text: str) -> None:
    trace = loaded(file, text)
    assert trace.demand.tolist() == [5.0, 6.0, 7.0]
    assert trace.start_seconds == 1_780_272_000


@pytest.mark.parametrize("text", ["5\n6\n7\n", "5 6 7", "requests\n5\n6\n7\n", "5 6\t7\n", "\n5\n\n6\n7"])
def test_values_alone_are_one_step_apart(file: Path, text: str) -> None:
    trace = loaded(file, text)
    assert trace.demand.tolist() == [5.0, 6.0, 7.0]
    assert trace.start_seconds == 0


def test_what_a_file_is_packed_in_is_told_by_its_bytes(tmp_path: Path) -> None:
    text = b"5 6 7"
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w:bz2") as archive:
        member = tarfile.TarInfo("workload.txt")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    for number, data in enumerate((gzip.compress(text), bz2.compress(text), tarred.getvalue())):
        path = tmp_path / f"{number}.csv"
        path.write_bytes(data)
        assert load(path, 1).demand.tolist() == [5.0, 6.0, 7.0]


def test_a_tar_of_several_files_is_refused_with_their_names(tmp_path: Path) -> None:
    path = tmp_path / "both.tar"
    with tarfile.open(path, mode="w") as archive:
        for name in ("a.csv", "b.csv"):
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(TraceError, match=r"holds 2 files \(a.csv, b.csv\); a trace is one"):
        load(path, 1)


@pytest.mark.parametrize(
    "data",
    [b"\x1f\x8bno gzip at all", gzip.compress(b"5 6 7")[:-6], b"BZh9 no bzip2"],
    ids=["no gzip", "gzip cut short", "no bzip2"],
)
def test_a_broken_archive_is_said_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.gz"
    path.write_bytes(data)
    with pytest.raises(TraceError, match="cannot be read") as refused:
        load(path, 1)
    assert refused.value.code == "TraceUnreadable"


def tarred(name: str, data: bytes) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return whole.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        tarred("a", b"5\n" * 5000)[:3000],
        bytes(257) + b"ustar" + bytes(762),
        random.Random(1).randbytes(257) + b"ustar" + random.Random(2).randbytes(762),
    ],
    ids=["cut", "zeros", "random"],
)
def test_a_broken_tar_is_said_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.tar"
    path.write_bytes(data)
    with pytest.raises(TraceError, match="looks like a tar archive, and is a broken one: ") as refused:
        load(path, 1)
    assert refused.value.code == "TraceUnreadable"


def test_a_tar_that_says_it_holds_more_than_it_does_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    header = tarfile.TarInfo("sparse")
    header.size = 0
    header.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": str(1 << 44),
        "GNU.sparse.map": "0,0",
    }
    path = tmp_path / "sparse.tar"
    with tarfile.open(path, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(header)
    with pytest.raises(TraceError, match="sparse is longer than the whole archive"):
        load(path, 1)


@pytest.mark.parametrize("text", ["5\n" * 30, "5 " * 30, "".join(f"{at},5\n" for at in range(30))])
def test_more_rows_than_a_trace_has_are_refused_before_all_of_them_are_kept(
    file: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_ROWS", 20)
    with pytest.raises(TraceError, match="more than 20 rows") as refused:
        loaded(file, text, 1)
    assert refused.value.code == "TraceTooLong"


def test_a_small_file_that_unpacks_to_a_hundred_million_rows_is_refused_in_little_memory(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(b"".join([gzip.compress(b"1\n" * 1_000_000, 1)] * 40))
    tracemalloc.start()
    with pytest.raises(TraceError, match="more than 20,000,000 rows"):
        load(path, 1)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 400_000_000, "as strings in a list they are gigabytes"


def test_a_trace_is_read_in_little_more_memory_than_its_numbers_take(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_bytes(b"12\n" * 100_000)
    tracemalloc.start()
    found = rows.read(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.values) == 100_000
    assert most < 5_000_000, "as strings in lists they are 13 million bytes"


@pytest.mark.parametrize("start", ["-500000", "1969-12-26T05:06:40Z"])
def test_times_before_1970_are_refused_in_a_sentence(file: Path, start: str) -> None:
    with pytest.raises(TraceError, match="begins 500,000 s before 1970") as refused:
        loaded(file, f"time,value\n{start},5\n-499940,6\n0,7\n60,8\n")
    assert refused.value.code == "TraceTooOld"


def test_a_file_of_which_most_rows_are_unreadable_is_no_trace_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "random"
    path.write_bytes(random.Random(1).randbytes(100_000))
    with pytest.raises(TraceError, match="cannot be read, so the others are no trace either") as refused:
        load(path, 60)
    assert refused.value.code == "TraceMostlyUnreadable"


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("value,time\n5,1780272000\n6,1780272060\n", None),
        ("value,time\n5,1780272000\n6,1780272060\n", "value"),
        ("host;Timestamp;value\nweb;1780272000;5\nweb;1780272060;6\n", None),
        ("value,host,date\n5,web,2026-06-01\n6,web,2026-06-01 00:01\n", "value"),
    ],
)
def test_times_stand_in_the_column_whose_heading_says_so(file: Path, text: str, column: str | None) -> None:
    trace = loaded(file, text, column=column)
    assert trace.demand.tolist() == [5.0, 6.0]
    assert trace.start_seconds == 1_780_272_000


def test_a_file_that_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        load(tmp_path / "none.csv", 1)


def test_gaps_are_filled_along_a_straight_line_and_counted(file: Path) -> None:
    trace = loaded(file, "0,5\n60,6\n240,9\n300,9\n360,1\n")
    assert trace.demand.tolist() == [5.0, 6.0, 7.0, 8.0, 9.0, 9.0, 1.0]
    assert (trace.found.gaps, trace.found.gap_samples, trace.found.longest_gap_seconds) == (1, 2, 120)


@pytest.mark.parametrize("word", ["NaN", "", "null", "inf", "-inf", "NA"])
def test_an_absent_value_is_a_gap(file: Path, word: str) -> None:
    trace = loaded(file, f"0,5\n60,{word}\n120,7\n")
    assert trace.demand.tolist() == [5.0, 6.0, 7.0]
    assert (trace.found.absent, trace.found.gap_samples) == (1, 1)


def test_a_negative_value_is_a_gap_and_not_a_small_demand(file: Path) -> None:
    trace = loaded(file, "5\n-3\n7\n")
    assert trace.demand.tolist() == [5.0, 6.0, 7.0]
    assert (trace.found.negative, trace.found.gap_samples) == (1, 1)


def test_an_unreadable_row_is_no_sample(file: Path) -> None:
    trace = loaded(file, "0,5\n60,six\nsome day,6\n120,7\n180\n180,8\n240,9\n300,1e30\n360,11\n420,12\n")
    assert trace.demand.tolist() == [5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0]
    assert trace.found.unreadable == 4


def test_an_unreadable_word_among_values_keeps_its_place(file: Path) -> None:
    trace = loaded(file, "5 oops 7")
    assert trace.demand.tolist() == [5.0, 6.0, 7.0]
    assert trace.found.unreadable == 1


def test_rows_out_of_order_are_put_in_order(file: Path) -> None:
    trace = loaded(file, "0,5\n120,7\n60,6\n180,8\n")
    assert trace.demand.tolist() == [5.0, 6.0, 7.0, 8.0]
    assert trace.found.out_of_order == 1


def test_of_rows_with_one_time_the_first_counts(file: Path) -> None:
    trace = loaded(file, "0,5\n60,6\n60,99\n120,7\n")
    assert trace.demand.tolist() == [5.0, 6.0, 7.0]
    assert trace.found.duplicate == 1


def test_rows_closer_together_than_the_step_are_averaged(file: Path) -> None:
    trace = loaded(file, "".join(f"{15 * at},{at}\n" for at in range(8)))
    assert trace.demand.tolist() == [1.5, 5.5]
    assert trace.found.merged == 6


def test_a_row_that_came_a_little_early_or_late_belongs_to_its_own_step(file: Path) -> None:
    trace = loaded(file, "0,5\n59.2,6\n121,7\n179,8\n240,9\n")
    assert trace.demand.tolist() == [5.0, 6.0, 7.0, 8.0, 9.0]
    assert (trace.found.gaps, trace.found.merged) == (0, 0)


def test_rows_farther_apart_than_the_step_are_not_invented(file: Path) -> None:
    with pytest.raises(TraceError) as refused:
        loaded(file, "0,5\n300,6\n600,7\n")
    assert refused.value.code == "TraceStepWrong"
    assert str(refused.value).endswith("Say --step 300.")


def test_one_wrong_year_does_not_make_a_trace_of_gaps(file: Path) -> None:
    with pytest.raises(TraceError) as refused:
        loaded(file, "1780272000,5\n1780272060,6\n1780272120,6\n4102444800,7\n")
    assert refused.value.code == "TraceMostlyGaps"
    assert "2100-01-01" in str(refused.value)


@pytest.mark.parametrize(
    "text", ["", "\n\n", "time,value\n", "a,b\nc,d\n", "0,nan\n60,nan\n", "60,5\n60,6\n"]
)
def test_a_file_without_a_trace_is_said_in_a_sentence(file: Path, text: str) -> None:
    with pytest.raises(TraceError) as refused:
        loaded(file, text)
    assert refused.value.code == "TraceUnreadable"


@pytest.mark.parametrize("column", ["bytes", "3"])
def test_a_column_is_named_by_its_heading_or_its_number(file: Path, column: str) -> None:
    trace = loaded(file, "time,bits,bytes\n0,1,5\n60,1,6\n", column=column)
    assert trace.demand.tolist() == [5.0, 6.0]


@pytest.mark.parametrize("column", ["octets", "4", "0"])
def test_a_column_that_is_not_there_is_refused_with_those_that_are(file: Path, column: str) -> None:
    with pytest.raises(TraceError, match=r"its first line has 3 \('time', 'bits', 'bytes'\)") as refused:
        loaded(file, "time,bits,bytes\n0,1,5\n60,1,6\n", column=column)
    assert refused.value.code == "TraceNoColumn"


def test_a_long_run_of_zeros_is_an_outage_only_where_that_was_said(file: Path) -> None:
    text = " ".join(["5", *["0"] * 59, "0", "5", "0", "5"])
    assert loaded(file, text).found.gaps == 0
    trace = loaded(file, text, outage_hours=1)
    assert trace.demand.tolist() == [*[5.0] * 62, 0.0, 5.0]
    assert trace.found.longest_gap_seconds == 3600


def test_a_trace_can_be_cut_and_averaged(file: Path) -> None:
    text = "".join(f"{1_780_272_000 + 60 * at},{at}\n" for at in range(60))
    trace = loaded(file, text)
    cut = trace.between(
        dt.datetime(2026, 6, 1, 0, 10, tzinfo=UTC), dt.datetime(2026, 6, 1, 0, 21, tzinfo=UTC)
    )
    assert (cut.start_seconds, cut.demand.tolist()) == (1_780_272_600, [float(at) for at in range(10, 21)])
    assert cut.averaged(300).demand.tolist() == [12.0, 17.0]
    with pytest.raises(TraceError, match="no whole number"):
        cut.averaged(90)
    with pytest.raises(TraceError, match="fewer than two samples are left"):
        trace.between(dt.datetime(2027, 1, 1, tzinfo=UTC), None)


def test_a_comma_between_quotation_marks_parts_no_cells(file: Path) -> None:
    trace = loaded(file, 'time,what,value\n1780272000,"a, b",5\n1780272060,"c, ""d""",6\n', column="value")
    assert trace.demand.tolist() == [5.0, 6.0]


@pytest.mark.parametrize(
    "text",
    [
        'time,value\n2026-06-01 00:00,"2,258"\n2026-06-01 00:01,"2,296"\n2026-06-01 00:02,"998"\n',
        '"time";"value"\n"1780272000";"998"\n"1780272060";"1,002.5"\n"1780272120";"999"\n',
        'value\n"1,258"\n"2,296"\n',
    ],
)
def test_values_with_commas_are_refused_and_never_read_up_to_the_comma(file: Path, text: str) -> None:
    with pytest.raises(TraceError, match="may mean thousands or decimals") as refused:
        loaded(file, text)
    assert refused.value.code == "TraceCommas"
