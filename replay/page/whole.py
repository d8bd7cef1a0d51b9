"""The page from its head to its foot."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from events.tlog.checkpoint import Checkpoint
from replay.figures.clients import Clients
from replay.figures.measured import Measured
from replay.figures.span import MONTH_DAYS, moment
from replay.figures.trips import STEPS
from replay.page import budget, curve
from replay.page.curve import Curve
from replay.page.markup import Html, joined, tag
from replay.page.nine import Figure, figures
from replay.page.style import STYLE

MOST_CURVES: Final = 60
"""Pools that are drawn; some 12 KB each. Of more, those that had the most VMs awake."""


@dataclass(frozen=True, slots=True)
class Seal:
    """The checkpoint as it was signed, and the public key that it is opened with, both as their files hold them."""

    note: str
    vkey: str


def page(measured: Measured, seal: Seal, clients: Clients | None = None) -> str:
    """The whole file. The same ledger and the same checkpoint, and the same clients' file, give the same bytes."""
    newest = moment(measured.month.until_ns)
    origin = measured.checkpoint.origin
    curves, left_out = curves_of(measured, newest)
    body = joined(
        (
            _header(measured, newest),
            tag(
                "main",
                _nine(figures(measured, clients)),
                _budget(measured),
                _curves(curves, left_out),
                _origin(measured.checkpoint, seal, newest, clients),
            ),
            tag("footer", tag("p", "Made by virtscale replay report. No script, no request to anybody.")),
        ),
        "\n",
    )
    head = joined(
        (
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag(
                "meta",
                http_equiv="Content-Security-Policy",
                content="default-src 'none'; style-src 'unsafe-inline'",
            ),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", f"Engineering: {origin}"),
            tag("style", Html(STYLE)),
        ),
        "\n",
    )
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def curves_of(measured: Measured, newest: dt.datetime) -> tuple[list[Curve], int]:
    """A curve for each pool, by name, and how many pools have none because there are too many."""
    until = curve.end_of(newest)
    found = [
        Curve(
            org,
            pool,
            until,
            tuple(
                point
                for point in measured.demand.points(org, pool)
                if until - curve.DAY <= point.window_from < until
            ),
        )
        for org, pool in sorted({*measured.parts.pools, *measured.demand.pools()})
    ]
    largest = sorted(found, key=lambda one: -max((point.awake for point in one.points), default=-1))
    drawn = set(map(_name, largest[:MOST_CURVES]))
    return [one for one in found if _name(one) in drawn], len(found) - len(drawn)


def _name(one: Curve) -> tuple[str, str]:
    return one.org, one.pool


def _header(measured: Measured, newest: dt.datetime) -> Html:
    checkpoint = measured.checkpoint
    words = (
        f"Every number here is computed from the audit ledger {checkpoint.origin}, events 1 to {checkpoint.size:,}, and "
        f"from nothing else. \u201cThese {MONTH_DAYS} days\u201d end with the newest of them, {_utc(newest)}"
    )
    if not checkpoint.size:
        words = f"The audit ledger {checkpoint.origin} has no event yet"
    elif measured.began_ns > measured.month.from_ns:
        words += f", and began with the first, {_utc(moment(measured.began_ns))}"
    return tag("header", tag("h1", "Engineering, measured"), tag("p", f"{words}.", class_="quiet"))


def _nine(all_: Sequence[Figure]) -> Html:
    return tag("ul", *(_card(figure) for figure in all_), class_="figures")


def _card(figure: Figure) -> Html:
    value = (
        tag("p", "no data", class_="value none")
        if figure.value is None
        else tag("p", figure.value, class_="value")
    )
    return tag(
        "li",
        tag("h3", figure.name),
        value,
        tag("p", figure.note, class_="note"),
        tag("p", figure.what, class_="what"),
        tag("p", figure.made, class_="made"),
    )


def _budget(measured: Measured) -> Html:
    took = {step: measured.trips.quantiles(step) for step in STEPS}
    return joined(
        (
            tag("h2", "Activation budget"),
            tag(
                "p",
                "One trip of a VM from asleep to serving, in five steps. L1 signal: from the sample to the stored request; "
                "a person's request has none. L2 gate: until its decision is stored. L3 wake: until the domain runs. L4 "
                "health: until the guest answers. L5 announce: until the load balancer sends it work. In milliseconds, over "
                f"these {MONTH_DAYS} days; medians of steps need not add up to the median of the whole.",
                class_="quiet",
            ),
            budget.picture(took),
            budget.legend(),
            budget.table(took),
        )
    )


def _curves(curves: Sequence[Curve], left_out: int) -> Html:
    parts: list[Html] = [
        tag("h2", "Demand and capacity, 24 hours"),
        tag(
            "p",
            "Demand is what the whole pool carried \u00f7 what one VM carries; of a pool that does not say so, reading \u00f7 limit of "
            "its trigger \u00d7 VMs that served: the VMs that would have brought the reading to its limit. Capacity is what served. "
            "Both as signal wrote them down every five minutes (pool.observed); where it did not look, there is a gap.",
            class_="quiet",
        ),
    ]
    if not curves:
        parts.append(tag("p", "no data", class_="value none"))
        parts.append(tag("p", "No pool is defined."))
        return joined(parts)
    parts += [curve.legend(), tag("div", *(curve.figure(one) for one in curves), class_="curves")]
    if left_out:
        parts.append(
            tag(
                "p",
                f"{left_out:,} more pools are not drawn: these are the {len(curves)} that had the most VMs awake.",
            )
        )
    return joined(parts)


def _origin(checkpoint: Checkpoint, seal: Seal, newest: dt.datetime, clients: Clients | None) -> Html:
    entries = (
        ("origin", checkpoint.origin),
        ("events", f"1 to {checkpoint.size:,}"),
        ("newest event stored", _utc(newest) if checkpoint.size else "none"),
        ("root, SHA-256 of the Merkle tree (RFC 6962)", checkpoint.root.hex()),
        ("public key that the signature was checked with", seal.vkey),
        *(() if clients is None else (("beside the ledger, and sealed by nobody", clients.source),)),
    )
    beside = "" if clients is None else " --clients CLIENTS"
    return joined(
        (
            tag("h2", "What this was computed from"),
            tag(
                "p",
                "While they were read, the events were hashed, and they came to this root. Whoever has an export of the ledger "
                "gets this page again, byte by byte: put the checkpoint into a file and run the command beneath. That the key "
                "is the operator's must be known from elsewhere.",
                class_="quiet",
            ),
            tag("dl", *(joined((tag("dt", name), tag("dd", value))) for name, value in entries)),
            tag("pre", seal.note.rstrip("\n")),
            tag(
                "pre",
                f"virtscale replay report --from EXPORT --checkpoint FILE{beside} --output engineering.html",
            ),
        )
    )


def _utc(at: dt.datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
