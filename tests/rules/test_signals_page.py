"""The page about signals says the numbers that the worker has."""

from pathlib import Path

from schemas.pool import MOST_TRIGGERS, read
from schemas.telemetry import TICK_SECONDS
from services.notifier.decide import GATHER_SECONDS
from services.signal import backfill, receiver, remote_write, series, silence, slopes, triggers
from services.signal.questions import AHEAD
from services.signal.selectors import selector_of
from virtscale.ports import Ports

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "signals.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())


def test_the_numbers_on_the_page_are_those_of_the_worker() -> None:
    mib = 1024 * 1024
    for said in (
        f"Every {triggers.POLL_SECONDS:.0f} s, with {triggers.QUERY_SECONDS:.0f} s for an answer",
        f"nothing was pushed for {triggers.PUSH_HOLDS_SECONDS:.0f} s",
        f"at most {MOST_TRIGGERS}.",
        f"takes {slopes.FEWEST_SAMPLES} samples over at least a minute",
        f"trailing {slopes.WINDOW_SECONDS / 60:.0f} minutes",
        f"for **{silence.PATIENCE_SECONDS:.0f} s** is lost",
        f"{silence.SELDOM} times their distance",
        f"after the first sample {silence.FIRST_PATIENCE_SECONDS:.0f} s",
        f"{silence.LONGEST_PATIENCE_SECONDS / 60:.0f} minutes at most",
        f"what is lost within {GATHER_SECONDS:.0f} s is one mail",
        f"more than {AHEAD.total_seconds():.0f} s ahead",
        f"more than {series.LATE.total_seconds():.0f} s old",
        (
            f"more than {remote_write.MOST_BYTES // mib} MiB unpacked, {remote_write.MOST_SERIES:,} series, "
            f"{remote_write.MOST_SAMPLES:,} samples, {remote_write.MOST_FIELDS:,} fields of any kind, or {remote_write.MOST_LABELS} labels"
        ),
        f"more than {receiver.LARGE // 1024} KiB is read in a thread",
        f"for {series.SETTLING.total_seconds():.0f} s after the first of its series",
        f"more than {receiver.MOST_BODY // mib} MiB of body, {receiver.MOST_HEAD // 1024} KiB of headers",
        f"more than {receiver.MOST_CONNECTIONS} connections",
        f"127.0.0.1:{Ports.usual().remote_write}{receiver.PATH}",
        (
            f"last {backfill.REACH.days} days (in steps of {backfill.STEP_SECONDS} s; of {backfill.COARSE_STEP_SECONDS} s where "
            f"more than {backfill.MANY_ORGS} orgs want it)"
        ),
        f"every {TICK_SECONDS} s",
    ):
        assert said in WORDS, said
    assert all(f"`{why}`" in PAGE for why in silence.WORDS)


def test_the_example_is_a_pool() -> None:
    example = PAGE.split("```toml\n")[1].split("```")[0]
    top = 'org = "acme"\nname = "web"\ntemplate = "tiny"\nsize = {name = "s", vcpu = 1, memory_mib = 96}\n'
    pool = read(top + example)
    assert [trigger.kind for trigger in pool.triggers] == ["p99", "queue"]
    assert pool.demand is not None
    assert [selector_of(trigger.query) is not None for trigger in pool.triggers] == [False, True]
