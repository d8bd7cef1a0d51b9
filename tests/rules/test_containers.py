"""The container files, as far as they can be checked without containers."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def entries(name: str) -> set[str]:
    """The patterns of an ignore file, without what only one of the two formats needs."""
    lines = (line.strip() for line in (ROOT / name).read_text().splitlines())
    return {line.removeprefix("**/").strip("/") for line in lines if line and not line.startswith("#")}


def test_no_key_no_ledger_and_no_cache_gets_into_an_image() -> None:
    assert entries(".gitignore") | {"house", ".git"} <= entries(".dockerignore")


def test_a_path_means_the_same_inside_and_outside_a_container() -> None:
    volumes = re.findall(r"^ +- (/[^:\s]+):(\S+)$", (ROOT / "compose.yaml").read_text(), flags=re.MULTILINE)
    assert volumes
    assert [pair for pair in volumes if pair[0] != pair[1]] == []
