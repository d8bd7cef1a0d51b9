"""What holds for every test: a skip is loud, and the end of a run tells where its time went."""

import os
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import settings
from xdist.remote import Producer

from tests.lanes import Lanes, in_turn, yield_to_seams
from tests.support import eventually as eventually_function

HERE = Path(__file__).parent
IN_CI = bool(os.environ.get("CI"))

# Two busy cores are no reason for a law to fail; in CI the examples are the same at every run, so that a red run
# means a change. A failure prints what repeats it.
settings.register_profile("house", deadline=None, derandomize=IN_CI, print_blob=True)
settings.load_profile("house")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Each of several processes has temporary directories as if it were alone: a longer path is none that a socket can have."""
    if hasattr(config, "workerinput"):
        config.option.basetemp = None


@pytest.fixture
def eventually() -> object:
    """The function of tests.support, for tests that would rather ask for it than import it."""
    return eventually_function


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"skipped in CI, where every part is installed: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skip is a failure, unless the test is marked may_skip(reason)."""
    report = yield
    expected_to_fail = hasattr(report, "wasxfail")
    if IN_CI and report.skipped and not expected_to_fail and not item.get_closest_marker("may_skip"):
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI a module that skips itself while it is read is a failure too."""
    report = yield
    if IN_CI and report.skipped:
        _refuse_skip(report)
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test that may skip says why, in words; where tests run in two processes, each begins with its seams."""
    for item in items:
        marker = item.get_closest_marker("may_skip")
        if marker and not marker.args:
            message = f"{item.nodeid}: may_skip needs its reason, as in may_skip('no KVM on this machine')"
            raise pytest.UsageError(message)
    if hasattr(config, "workerinput"):
        in_turn(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes:
    """With `-n 2` all seams run in one process, in their order, and the other tests in the other."""
    return Lanes(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where tests run in two processes, those that only compute yield to those with real parts."""
    yield_to_seams(item)


def _folder(nodeid: str) -> str:
    parts = Path(nodeid.split("::", maxsplit=1)[0]).parts
    inside = parts[parts.index(HERE.name) + 1 :] if HERE.name in parts else parts
    return f"{HERE.name}/{inside[0]}" if inside else HERE.name


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The seconds of every folder under tests/, set-up and tear-down included, slowest first."""
    seconds: defaultdict[str, float] = defaultdict(float)
    tests: defaultdict[str, int] = defaultdict(int)
    stats = cast("dict[str, list[object]]", terminalreporter.stats)
    for report in (one for reports in stats.values() for one in reports):
        if isinstance(report, pytest.TestReport):
            folder = _folder(report.nodeid)
            seconds[folder] += report.duration
            tests[folder] += report.when == "call"
    if not seconds:
        return
    terminalreporter.section("where the time went")
    for folder in sorted(seconds, key=lambda name: -seconds[name]):
        terminalreporter.line(f"{folder:<28} {tests[folder]:>5} tests {seconds[folder]:>8.1f} s")
