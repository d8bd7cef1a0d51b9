"""docs/prediction.md: what it shows was made with today's parameters, and what it tells of the command is so."""

import json
import re
import sys
from pathlib import Path

import pytest

from replay.backtest.policies import POLICIES
from services.forecaster.parameters import DEFAULT
from virtscale import cli

PAGE = (Path(__file__).parents[2] / "docs" / "prediction.md").read_text()
[TABLE] = [
    block
    for block in re.findall(r"^```\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    if "regret at our" in block
]


def test_the_table_was_made_with_the_parameters_of_this_version() -> None:
    assert f"parameters {DEFAULT.name()}, coverage 99 %" in TABLE


def test_the_last_line_of_the_table_says_what_its_rows_say() -> None:
    last = json.loads(TABLE.splitlines()[-1])
    shown: dict[str, tuple[float, float]] = {}
    name = ""
    for line in TABLE.splitlines():
        if found := re.match(r"(\S+): [\d.]+ days of ", line):
            name = found[1]
        elif found := re.match(r"  forecast +([\d.]+) +(-?[\d.]+)", line):
            shown[name] = float(found[1]), float(found[2])
    assert {trace for trace in last if trace != "cpu_s_10000_pools"} == set(shown)
    for trace, (hit, regret) in shown.items():
        assert last[trace]["hit"] == pytest.approx(hit, abs=0.006)
        assert last[trace]["regret"] == pytest.approx(regret, abs=0.006)


def test_every_rule_of_the_table_is_explained() -> None:
    explained = set(re.findall(r"^\| ([a-z-]+) \|", PAGE, flags=re.MULTILINE))
    assert set(POLICIES) | {"mstl"} <= explained


def test_every_option_that_the_page_names_is_one_of_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["virtscale", "backtest", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    # A line of the proposed contract names another command's.
    said = re.sub(r"^#  .*$", "", PAGE, flags=re.MULTILINE)
    assert set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", said)) <= known
