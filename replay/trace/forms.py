"""A trace as others read it: OTLP in its JSON encoding, and the Trace Event Format of Chrome and Perfetto. Pure.

The same trace gives the same bytes: members stand in a fixed order, and nothing in them is this machine's.
"""

from typing import Final

import msgspec

from replay.trace.spans import Span, Status, Trace, Value

_SCOPE: Final = "virtscale.replay"
_INTERNAL: Final = 1
"""OTLP's span kind for what is neither asked by a client nor answered by a server of RPC."""

_STATUS: Final[dict[Status, int]] = {"unset": 0, "ok": 1, "error": 2}
_NS_PER_US: Final = 1000


def otlp(trace: Trace) -> bytes:
    """The trace as the body of an OTLP/HTTP request with `content-type: application/json`.

    By the JSON encoding of the OTLP specification: lowerCamelCase names, ids in hexadecimal, enumerations as numbers, and
    64-bit integers as decimal strings. One resource for each worker that wrote.
    """
    by_service: dict[str, list[Span]] = {}
    for span in trace.spans:
        by_service.setdefault(span.service, []).append(span)
    return _encoded(
        {
            "resourceSpans": [
                {
                    "resource": {
                        "attributes": _attributes({"service.namespace": "virtscale", "service.name": service})
                    },
                    "scopeSpans": [
                        {"scope": {"name": _SCOPE}, "spans": [_otlp_span(trace.id, span) for span in spans]}
                    ],
                }
                for service, spans in by_service.items()
            ]
        }
    )


def _otlp_span(trace: str, span: Span) -> dict[str, object]:
    status: dict[str, object] = {"code": _STATUS[span.status]}
    if span.message:
        status["message"] = span.message
    return {
        "traceId": trace,
        "spanId": span.id,
        **({} if span.parent is None else {"parentSpanId": span.parent}),
        "name": span.name,
        "kind": _INTERNAL,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _attributes(span.attributes),
        "events": [
            {
                "timeUnixNano": str(event.at_ns),
                "name": event.name,
                "attributes": _attributes(event.attributes),
            }
            for event in span.events
        ],
        "status": status,
    }


def _attributes(values: dict[str, Value]) -> list[dict[str, object]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Value) -> dict[str, object]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case str():
            return {"stringValue": value}


def chrome(trace: Trace) -> bytes:
    """The trace as a file for chrome://tracing or ui.perfetto.dev: one row for the request and one for each of its VMs."""
    whole = trace.spans[0]
    rows = {whole.id: (1, "request")}
    for span in trace.spans:
        if span.parent == whole.id and "virtscale.vm" in span.attributes:
            rows[span.id] = (len(rows) + 1, str(span.attributes["virtscale.vm"]))
    events: list[dict[str, object]] = [_named("process_name", 0, whole.name)]
    events += [_named("thread_name", row, name) for row, name in rows.values()]
    for span in trace.spans:
        row, _ = rows.get(span.id) or rows.get(span.parent or "") or rows[whole.id]
        events.append(
            {
                "ph": "X",
                "name": span.name,
                "cat": span.service,
                "pid": 1,
                "tid": row,
                "ts": span.start_ns // _NS_PER_US,
                "dur": (span.end_ns - span.start_ns) // _NS_PER_US,
                "args": {
                    "span_id": span.id,
                    **({"status": span.status, "message": span.message} if span.message else {}),
                    **span.attributes,
                },
            }
        )
        instants: list[dict[str, object]] = [
            {
                "ph": "i",
                "s": "t",
                "name": event.name,
                "cat": span.service,
                "pid": 1,
                "tid": row,
                "ts": event.at_ns // _NS_PER_US,
                "args": event.attributes,
            }
            for event in span.events
        ]
        events += instants
    return _encoded({"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"trace_id": trace.id}})


def _named(what: str, row: int, name: str) -> dict[str, object]:
    return {"ph": "M", "name": what, "pid": 1, "tid": row, "args": {"name": name}}


def _encoded(document: dict[str, object]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
