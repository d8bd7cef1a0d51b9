"""The documents that follow from the code are current, whole, and guard the shape of events."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from events.fact import Fact
from events.registry import ROWS
from virtscale import asyncapi, documents

ASYNCAPI = json.loads(documents.rendered()["asyncapi.json"])


def test_the_committed_documents_are_current() -> None:
    assert documents.redefined() == []
    assert documents.stale() == [], f"run `{documents.MEND}`"
    assert documents.main(["--check"]) == 0


def test_a_stale_a_missing_and_a_foreign_document_are_each_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    documents.write(tmp_path)
    assert documents.stale(tmp_path) == []
    (tmp_path / "pool.json").write_text("{}")
    (tmp_path / "contract.json").unlink()
    (tmp_path / "leftover.json").write_text("{}")
    assert documents.stale(tmp_path) == ["contract.json", "leftover.json", "pool.json"]
    assert documents.write(tmp_path) == ["contract.json", "leftover.json", "pool.json"]
    assert documents.stale(tmp_path) == []
    monkeypatch.setattr(documents, "stale", lambda: ["pool.json"])
    assert documents.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert "pool.json" in said
    assert "make documents" in said


class VmUnreadyAsSomebodyWouldLikeIt(Fact, frozen=True):
    vm: str
    reason: str


def altered(struct: type[Fact]) -> dict[str, str]:
    schema = msgspec.json.schema(struct)
    return documents.rendered() | {"vm.unready.v1.json": json.dumps(schema)}


def test_a_struct_that_changed_without_a_new_version_is_found_and_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents.write(tmp_path)
    committed = (tmp_path / "vm.unready.v1.json").read_text()
    assert documents.redefined(tmp_path, altered(VmUnreadyAsSomebodyWouldLikeIt)) == ["vm.unready.v1"]
    changed = altered(VmUnreadyAsSomebodyWouldLikeIt)
    monkeypatch.setattr(documents, "rendered", lambda: changed)
    with pytest.raises(documents.RedefinedError, match=r"vm\.unready\.v1 .* next version with an upcaster"):
        documents.write(tmp_path)
    assert (tmp_path / "vm.unready.v1.json").read_text() == committed


@pytest.mark.parametrize(
    ("find", "put"),
    [
        ('"maxLength": 1000', '"maxLength": 999'),
        ('"maximum": 9007199254740992', '"maximum": 9'),
        ('    "text",\n', ""),
        ('"additionalProperties": false', '"additionalProperties": true'),
    ],
    ids=["another length", "another bound", "optional now", "open to more"],
)
def test_the_smallest_change_of_an_events_shape_is_one(tmp_path: Path, find: str, put: str) -> None:
    documents.write(tmp_path)
    wanted = documents.rendered()
    former = wanted["vm.unready.v1.json"]
    assert find in former
    assert documents.redefined(tmp_path, wanted | {"vm.unready.v1.json": former.replace(find, put)}) == [
        "vm.unready.v1"
    ]


def test_an_event_may_be_described_anew_and_may_not_vanish(tmp_path: Path) -> None:
    documents.write(tmp_path)
    wanted = documents.rendered()
    reworded = re.sub(
        r'"description": "The guest did not[^"]*"',
        '"description": "It was silent."',
        wanted["vm.unready.v1.json"],
    )
    assert reworded != wanted["vm.unready.v1.json"]
    assert documents.redefined(tmp_path, wanted | {"vm.unready.v1.json": reworded}) == []
    del wanted["vm.unready.v1.json"]
    assert documents.redefined(tmp_path, wanted) == ["vm.unready.v1"]


# ------------------------------------------------------------------------------------------------------ AsyncAPI


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolve(reference: str) -> object:
    assert reference.startswith("#/"), reference
    found: object = ASYNCAPI
    for step in reference.removeprefix("#/").split("/"):
        assert isinstance(found, dict)
        found = found[step.replace("~1", "/").replace("~0", "~")]
    return found


def test_asyncapi_has_the_parts_that_version_3_requires() -> None:
    assert ASYNCAPI["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= ASYNCAPI["info"].keys()
    for name, operation in ASYNCAPI["operations"].items():
        assert operation["action"] in {"send", "receive"}, name
        assert isinstance(resolve(operation["channel"]["$ref"]), dict)
    for part in ("messages", "schemas"):
        for name in ASYNCAPI["components"][part]:
            assert re.fullmatch(r"[A-Za-z0-9._-]+", name), name


def test_every_reference_of_asyncapi_resolves() -> None:
    seen = list(references(ASYNCAPI))
    assert len(seen) > 100
    for reference in seen:
        assert resolve(reference) is not None


def test_every_channel_declares_the_parameters_of_its_address() -> None:
    for name, channel in ASYNCAPI["channels"].items():
        if channel["address"] is not None:
            assert set(re.findall(r"\{(\w+)\}", channel["address"])) == channel["parameters"].keys(), name


def test_every_event_and_every_verb_has_its_channel_and_operation() -> None:
    channels, operations = ASYNCAPI["channels"], ASYNCAPI["operations"]
    for row in ROWS:
        assert row.tag in channels[row.name]["messages"]
        assert operations[f"{row.writer}.{row.name}"]["action"] == "send"
        payload = ASYNCAPI["components"]["messages"][row.tag]["payload"]["allOf"][1]["properties"]
        assert payload["type"] == {"const": row.tag}
        assert re.split(r"[/.]", payload["data"]["$ref"])[-1] == row.struct.__name__
        assert isinstance(resolve(payload["data"]["$ref"]), dict)
    for verb in ("scale", "quiesce", "stock", "erase"):
        assert operations[f"ask.{verb}"]["reply"]["channel"]["$ref"] == "#/channels/in.reply"
    assert channels["vm.resumed"]["address"] == "vs.{org}.waker-{host}.vm.{vm}.vm.resumed"
    assert channels["in.scale"]["address"] == "in.{org}.{publisher}.scale"


def test_the_discriminators_of_orders_name_schemas_that_exist() -> None:
    mapping = ASYNCAPI["components"]["schemas"]["events.gate.GateDecided"]["properties"]["orders"]["items"][
        "discriminator"
    ]
    assert len(mapping["mapping"]) == 15
    for reference in mapping["mapping"].values():
        assert isinstance(resolve(reference), dict)
    assert asyncapi.VERSION
