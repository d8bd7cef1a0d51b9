"""`virtscale activation`: one request, or one activation, as the views know it."""

from pathlib import Path

import msgspec

from projections.activations.fold import BUDGET_MS
from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND, EXIT_USAGE
from virtscale.show import Format, say, show
from virtscale.views import ACTIVATION, ACTIVATIONS_OF, REQUEST, STEPS, Views

_COLUMNS = ["vm", "way", "stage", "l1_ms", "l2_ms", "l3_ms", "l4_ms", "l5_ms", "total_ms", "failure"]


def show_trip(directory: Path, prefix: str, form: Format) -> int:
    """The request or activation whose id begins so, with the steps of each VM; the exit code."""
    if not prefix or not set(prefix) <= set("0123456789abcdef"):
        say(f"{prefix!r} is no id: ids are hexadecimal digits; `virtscale ledger tail` shows them.")
        return EXIT_USAGE
    base = Views(directory)
    try:
        requests = base.rows(REQUEST, [prefix])
        trips = base.rows(ACTIVATION, [prefix])
        if len(requests) + len(trips) == 0:
            say(f"No request and no activation has an id that begins with {prefix}.")
            return EXIT_NOT_FOUND
        if len(requests) + len(trips) > 1:
            say(f"More than one id begins with {prefix}: give more digits.")
            return EXIT_USAGE
        if requests:
            trips = base.rows(ACTIVATIONS_OF, [str(requests[0]["id"])])
    finally:
        base.close()
    if form == "json":
        asked: list[dict[str, object]] = [
            {**request, "evidence": _raw(request["evidence"]), "activations": trips} for request in requests
        ]
        show(asked or trips, form)
        return EXIT_DONE
    for request in requests:
        say(f"request {request['id']} at sequence {request['seq']}: {request['verb']} {request['asked']}")
        say(str(request["sentence"] or "not answered yet"))
    if trips:
        show(trips, form, columns=_COLUMNS)
    return EXIT_DONE


def show_budget(directory: Path, form: Format) -> int:
    """How long VMs took from asleep to serving, step by step, beside the budget; the exit code.

    A step that a trip does not have is left out of that step's figures: a person's request has no L1.
    """
    base = Views(directory)
    try:
        trips = base.rows(STEPS)
    finally:
        base.close()
    rows: list[dict[str, object]] = []
    for step in (*BUDGET_MS, "total"):
        took = sorted(float(value) for trip in trips if isinstance(value := trip[step], int | float))
        rows.append(
            {
                "step": step,
                "n": len(took),
                "p50_ms": _quantile(took, 0.5),
                "p99_ms": _quantile(took, 0.99),
                "budget_p50_ms": BUDGET_MS.get(step, sum(BUDGET_MS.values())),
            }
        )
    show(rows, form)
    return EXIT_DONE


def _quantile(ordered: list[float], share: float) -> float | None:
    """The value below which `share` of the values lie, one of them; None of none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def _raw(text: object) -> msgspec.Raw | None:
    """A column that holds JSON, as JSON."""
    return msgspec.Raw(text.encode()) if isinstance(text, str) else None
