"""Writes the documents that follow from the code, or says which of those in the repository are stale.

`python -m virtscale.documents [--check]`. The trap that this file guards: a new shape of an event that is in
somebody's ledger already is not a new document, it is a broken promise. So the schema of an event is written
once, and after that only its words may change.
"""

import dataclasses
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, cast

import msgspec

import schemas
from events.bus import permissions
from events.envelope import Envelope
from events.registry import ROWS
from schemas.contract.document import Signed
from schemas.contract.terms import Contract
from schemas.intake import VERBS, DeadLetter, Receipt, Rejection
from schemas.pool import Pool
from schemas.problem import Problem
from virtscale.asyncapi import document, tidy

DIRECTORY: Final = Path(next(iter(schemas.__path__))) / "generated"
MEND: Final = "make documents"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_EVENT: Final = re.compile(r"\.v\d+\.json$")
_WORDS: Final = frozenset({"description", "title", "$id", "$schema"})
"""What may change in the schema of an event: words for people, which no reader depends on."""


class RedefinedError(Exception):
    """An event that stands in ledgers would change its shape."""

    code = "EventRedefined"


def rendered() -> dict[str, str]:
    """Every document by file name, as it should be."""
    values: dict[str, type] = {row.tag: row.struct for row in ROWS}
    values |= {f"intake.{verb}": request for verb, request in VERBS.items()}
    values |= {"intake.receipt": Receipt, "intake.rejection": Rejection, "intake.dead-letter": DeadLetter}
    values |= {"envelope": Envelope, "contract": Contract, "contract.signed": Signed, "pool": Pool}
    values |= {"problem": Problem}
    documents: dict[str, object] = {f"{name}.json": _schema(name, value) for name, value in values.items()}
    documents["asyncapi.json"] = document()
    documents["permissions.json"] = _permissions()
    return {name: json.dumps(value, indent=1, ensure_ascii=False) + "\n" for name, value in documents.items()}


def stale(directory: Path = DIRECTORY) -> list[str]:
    """The names of documents that are missing, not as they should be, or of nothing that there is."""
    wanted = rendered()
    present = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.json")}
    return sorted(name for name in {*wanted, *present} if wanted.get(name) != present.get(name))


def redefined(directory: Path = DIRECTORY, wanted: dict[str, str] | None = None) -> list[str]:
    """The tags of events whose shape is not the one that was written down when they were new, or that are gone."""
    documents = rendered() if wanted is None else wanted
    written = sorted(path for path in directory.glob("*.json") if _EVENT.search(path.name))
    return [path.stem for path in written if _differs(path, documents.get(path.name))]


def write(directory: Path = DIRECTORY) -> list[str]:
    """All documents are as they should be; the names of those that were not. Raises `RedefinedError`."""
    broken = redefined(directory)
    if broken:
        raise RedefinedError(_accusation(broken))
    directory.mkdir(parents=True, exist_ok=True)
    names, wanted = stale(directory), rendered()
    for name in names:
        if name in wanted:
            (directory / name).write_text(wanted[name], encoding="utf-8")
        else:
            (directory / name).unlink()
    return names


def main(arguments: list[str]) -> int:
    """Write the documents, or with `--check` only look; 0 when all is well, 1 when not, 2 for a wrong call."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m virtscale.documents [--check]\n")
        return 2
    if arguments:
        broken, names = redefined(), stale()
        if broken:
            sys.stderr.write(_accusation(broken) + "\n")
        elif names:
            sys.stderr.write(f"Stale documents in schemas/generated: {', '.join(names)}. Run `{MEND}`.\n")
        return 1 if broken or names else 0
    try:
        names = write()
    except RedefinedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    print(f"{len(names)} documents written: {', '.join(names)}" if names else "All documents are current.")
    return 0


def _accusation(tags: Iterable[str]) -> str:
    names = ", ".join(tags)
    return (
        f"The shape of {names} has changed or is gone, and ledgers hold events of that version. Leave it as it was and add the "
        "next version with an upcaster in events/registry.py. (An event that no release ever wrote may be "
        "redefined: delete its files in schemas/generated and tests/logs.)"
    )


def _schema(name: str, value: type) -> object:
    schema = cast("dict[str, object]", tidy(msgspec.json.schema(value)))
    return {"$schema": DIALECT, "$id": f"urn:virtscale:{name}", **schema}


def _differs(path: Path, wanted: str | None) -> bool:
    """Whether a reader of the former document would not understand the new one, or not in the same way."""
    if wanted is None:
        return True
    return _shape(json.loads(path.read_text(encoding="utf-8"))) != _shape(json.loads(wanted))


def _shape(value: object) -> object:
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        return {
            key: _shape(inner)
            for key, inner in members.items()
            if not (key in _WORDS and isinstance(inner, str))
        }
    if isinstance(value, list):
        return [_shape(inner) for inner in cast("list[object]", value)]
    return value


def _permissions() -> object:
    """What nats-server is told, with braces where a site puts its names."""
    permits = [
        *permissions.workers(["{host}"]),
        permissions.publisher("{org}", "{publisher}"),
        permissions.operator(),
        permissions.reader("{reader}"),
        permissions.admin(),
    ]
    return {permit.name: dataclasses.asdict(permit) for permit in permits}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
