"""The messages of the platform as an AsyncAPI 3.0 document, computed from the registry of events.

Three kinds of channels: the ledger's subjects, one per event; the intake, one per verb, with what is replied; and
the dead letters. An operation `send` is a worker that writes, `receive` is what the platform takes from outside.
"""

import inspect
import re
from collections.abc import Mapping
from typing import Final, cast

import msgspec

from events.envelope import Envelope
from events.registry import ROWS, Row
from schemas.intake import VERBS, DeadLetter, Receipt, Rejection

VERSION: Final = "1.0.0"
"""Of the document's own shape; every event carries its version in its type."""

JSON: Final = "application/json"
CLOUDEVENT: Final = "application/cloudevents+json"

_SCHEMAS: Final = "#/components/schemas/"
_MEANINGS: Final = {
    "org": "The tenant.",
    "publisher": "Whoever asks; the bus lets a publisher ask only in its own name.",
    "host": "The hypervisor.",
    "pool": "The pool.",
    "vm": "The VM.",
    "person": "The person's id in the vault.",
}

Document = dict[str, object]


def document() -> Document:
    """The whole document, in the order in which a person reads it."""
    values = (Envelope, *(row.struct for row in ROWS), *VERBS.values(), Receipt, Rejection, DeadLetter)
    refs, schemas = msgspec.json.schema_components(values, ref_template=_SCHEMAS + "{name}")
    # Two versions of an event have one class name; msgspec says which is which in the reference.
    named = dict(zip(values, refs, strict=True))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Virtscale",
            "version": VERSION,
            "description": (
                "Events are CloudEvents 1.0 in structured JSON. Each stands in the ledger for ever, at one sequence "
                "of one JetStream stream; the version in its type never changes its meaning. From outside comes "
                "what is published on the intake, and nothing else."
            ),
        },
        "defaultContentType": JSON,
        "channels": _channels(),
        "operations": _operations(),
        "components": {"messages": _messages(named), "schemas": tidy(schemas)},
    }


def tidy(value: object) -> object:
    """The same schema with its descriptions as they are read, not as they are indented in the code."""
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        return {
            key: inspect.cleandoc(inner) if key == "description" and isinstance(inner, str) else tidy(inner)
            for key, inner in members.items()
        }
    if isinstance(value, list):
        return [tidy(inner) for inner in cast("list[object]", value)]
    return value


def address(row: Row) -> str:
    """The subjects of an event, with parameters in braces."""
    writer = f"{row.writer}-{{host}}" if row.per_host else row.writer
    return f"vs.{{org}}.{writer}.{row.kind}.{{{row.kind}}}.{row.name}"


def _channel(address: str, messages: list[str], description: str) -> Document:
    return {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "parameters": {name: {"description": _MEANINGS[name]} for name in re.findall(r"\{(\w+)\}", address)},
    }


def _channels() -> Document:
    channels: Document = {}
    for row in ROWS:
        versions = [one.tag for one in ROWS if one.name == row.name]
        channels[row.name] = _channel(address(row), versions, _first_line(row.struct))
    for verb, request in VERBS.items():
        channels[f"in.{verb}"] = _channel(
            f"in.{{org}}.{{publisher}}.{verb}", [f"request.{verb}"], _first_line(request)
        )
    channels["in.reply"] = {
        "address": None,  # wherever the asker wants it: NATS' own reply subject
        "description": "The answer to whoever asked, on the reply subject of the request.",
        "messages": {
            name: {"$ref": f"#/components/messages/{name}"} for name in ("reply.receipt", "reply.rejection")
        },
    }
    channels["dead"] = _channel("dead.{org}.{publisher}", ["dead.letter"], _first_line(DeadLetter))
    return channels


def _operations() -> Document:
    operations: Document = {}
    for row in ROWS:
        operations[f"{row.writer}.{row.name}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{row.name}"},
            "summary": f"{row.writer.capitalize()} writes it, and nobody else may.",
        }
    for verb in VERBS:
        operations[f"ask.{verb}"] = {
            "action": "receive",
            "channel": {"$ref": f"#/channels/in.{verb}"},
            "summary": f"An outsider asks for it: {verb}.",
            "reply": {"channel": {"$ref": "#/channels/in.reply"}},
        }
    operations["signal.dead"] = {
        "action": "send",
        "channel": {"$ref": "#/channels/dead"},
        "summary": "Signal keeps what it could not take.",
    }
    return operations


def _messages(refs: Mapping[type, object]) -> Document:
    messages: Document = {row.tag: _event(row, refs) for row in ROWS}
    plain = {
        **{f"request.{verb}": request for verb, request in VERBS.items()},
        "reply.receipt": Receipt,
        "reply.rejection": Rejection,
        "dead.letter": DeadLetter,
    }
    for name, value in plain.items():
        messages[name] = {
            "name": name,
            "summary": _first_line(value),
            "contentType": JSON,
            "payload": refs[value],
        }
    return messages


def _event(row: Row, refs: Mapping[type, object]) -> Document:
    return {
        "name": row.tag,
        "summary": _first_line(row.struct),
        "contentType": CLOUDEVENT,
        "headers": {
            "type": "object",
            "properties": {"Nats-Msg-Id": {"type": "string", "description": "The event's id."}},
        },
        "payload": {
            "allOf": [
                refs[Envelope],
                {
                    "type": "object",
                    "properties": {
                        "type": {"const": row.tag},
                        "data": refs[row.struct],
                    },
                },
            ]
        },
    }


def _first_line(value: type) -> str:
    return inspect.cleandoc(value.__doc__ or "").partition("\n")[0]
