"""Whole ledgers of earlier programs are understood today, and make the very same views."""

import copy
import json
import subprocess
from pathlib import Path

import msgspec
import pytest

from events import registry, v2
from events.contract import ContractTookEffect
from events.envelope import read
from events.gate import GateDecided
from events.ids import derive
from events.pool import PoolDefined
from events.registry import BY_TAG, ROWS
from events.stored import Stored
from events.vm import VmResumed
from tests.logs.golden import LEDGERS, differences, made, messages
from virtscale import documents

HERE = Path(__file__).parent
SHAPES = HERE / "shapes.txt"
NAMES = sorted(path.stem for path in LEDGERS.glob("*.log"))
OLD = messages(LEDGERS / "before-contracts.log")


def shape_of(tag: str) -> str:
    """Of all that a reader of the event depends on: fields, types, bounds, and whether more is allowed."""
    schema = documents._shape(json.loads(documents.rendered()[f"{tag}.json"]))
    return derive(json.dumps(schema, sort_keys=True, ensure_ascii=False))


def test_there_are_ledgers_from_before_and_after_events_got_a_second_version() -> None:
    tags = {
        name: {msgspec.json.decode(one.payload)["type"] for one in messages(LEDGERS / f"{name}.log")}
        for name in NAMES
    }
    assert {"contract.took-effect.v1", "pool.defined.v1"} <= tags["before-contracts"]
    assert {"contract.took-effect.v2", "pool.defined.v2"} <= tags["before-release"]
    assert not any(tag.endswith(".v2") for tag in tags["before-contracts"])
    assert all((LEDGERS / f"{name}.json").exists() for name in NAMES), "run `python -m tests.logs.golden`"


@pytest.mark.parametrize("name", NAMES)
async def test_a_kept_ledger_makes_the_same_views_byte_for_byte_and_the_same_root(name: str) -> None:
    kept = json.loads((LEDGERS / f"{name}.json").read_text(encoding="utf-8"))
    assert differences(kept, await made(messages(LEDGERS / f"{name}.log"))) == []


async def test_a_view_that_would_be_made_otherwise_is_named() -> None:
    kept = json.loads((LEDGERS / "before-contracts.json").read_text(encoding="utf-8"))
    less = [one if one.seq <= 100 else msgspec.structs.replace(one, id="") for one in OLD]
    found = differences(kept, await made(less))
    assert any(one.startswith("Table vms: ") for one in found)
    assert found[-1].startswith("The root of the audit tree is ")
    renamed = copy.deepcopy(kept)
    renamed["tables"]["vms"]["columns"][0] = "organisation"
    renamed["tables"]["retired"] = {"columns": [], "rows": 0, "digest": ""}
    assert [one.split(":")[0] for one in differences(renamed, kept)] == ["Table vms", "Table retired"]


def test_events_of_version_one_are_folded_as_version_two() -> None:
    facts = [read(one.seq, one.stored_ns, one.payload, one.subject) for one in OLD]
    raised = [one for one in facts if BY_TAG[one.type].struct is not type(one.fact)]
    assert {one.type for one in raised} == {
        "contract.took-effect.v1",
        "gate.decided.v1",
        "pool.defined.v1",
        "vm.resumed.v1",
    }
    assert {type(one.fact) for one in raised} == {ContractTookEffect, GateDecided, PoolDefined, VmResumed}


async def test_an_upcaster_that_says_something_else_makes_another_view(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = json.loads((LEDGERS / "before-contracts.json").read_text(encoding="utf-8"))
    row = BY_TAG["pool.defined.v1"]
    upcast = row.upcast
    assert upcast is not None

    def otherwise(fact: object) -> object:
        raised = upcast(fact)  # pyright: ignore[reportArgumentType]
        assert isinstance(raised, v2.PoolDefined)
        return msgspec.structs.replace(
            raised, definition=msgspec.structs.replace(raised.definition, cooldown_seconds=91)
        )

    other = type(row)(row.name, row.version, row.struct, row.writer, row.kind, otherwise)  # pyright: ignore[reportArgumentType]
    monkeypatch.setitem(registry.BY_TAG, row.tag, other)
    assert any(one.startswith("Table pools: ") for one in differences(kept, await made(OLD)))


def test_every_event_version_has_the_shape_that_it_had_when_it_was_new() -> None:
    """Beside the committed schemas, which a program writes: these lines only a person can change, and nobody may."""
    lines = [
        (line.split(" ")[0], line.split(" ")[1]) for line in SHAPES.read_text(encoding="utf-8").splitlines()
    ]
    kept = dict(lines)
    assert len(kept) == len(lines)
    now = {row.tag: shape_of(row.tag) for row in ROWS}
    changed = [tag for tag in kept if now.get(tag) != kept[tag]]
    assert changed == [], (
        "ledgers hold these events: leave their version, and add the next one with an upcaster"
    )
    missing = [f"{tag} {now[tag]}" for tag in now if tag not in kept]
    assert missing == [], f"new versions of events: append these lines to {SHAPES.name}"


def deletions(path: Path) -> int:
    """How many lines of the file were ever changed or taken away, as far as git knows, and since the last commit."""
    lost = 0
    for command in (["log", "--format="], ["diff", "HEAD"]):
        told = subprocess.run(
            ["git", *command, "--numstat", "--no-renames", "--", path.name],
            cwd=path.parent,
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout
        lost += sum(int(line.split("\t")[1]) for line in told.splitlines() if line)
    return lost


@pytest.mark.parametrize("path", [SHAPES, *sorted(LEDGERS.glob("*.log"))], ids=lambda path: path.name)
def test_what_is_kept_is_only_ever_added_to(path: Path) -> None:
    assert deletions(path) == 0, f"{path.name} has lost lines: a promise to ledgers that are out there"


def test_a_ledger_with_an_event_from_the_future_is_understood_by_nobody() -> None:
    later = OLD[0].payload.replace(b"contract.took-effect.v1", b"contract.took-effect.v9")
    with pytest.raises(
        registry.UnknownEventError, match=r"contract\.took-effect\.v9, which this version does not know"
    ):
        read(1, 0, later)
    assert isinstance(OLD[0], Stored)
