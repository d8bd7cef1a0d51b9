"""Who may say what on the bus: computed from the registry, so that a new event is permitted where it is listed.

What this cannot hold: nats-server checks the subject that a client publishes to, never the reply subject it
names. Whoever may call the JetStream API can therefore have an *answer* of the server written on any subject
(seen with 2.15.1, and kept as a test). Nothing new can be said that way: such answers carry no message id, or, as copies of
what the ledger holds, the server's own headers by which every reader knows them (`wire.STREAM`). Neither is an event.
A copy that a consumer is made to deliver comes back on its own subject, as it was, once the bus has forgotten its id: an event
said twice. What was decided is not said twice, since it carries its expectation or its batch; an outcome folds once, by its
reservation; a request counts as asked again, within the cap like any other.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, get_args

from events.registry import ROWS, Writer
from schemas import alive
from schemas.names import FORECAST, OPERATOR

LEDGER: Final = "LEDGER"
"""The stream of all events."""

DEAD: Final = "DEAD"
"""The stream of rejected intake messages."""

TELEMETRY: Final = "TELEMETRY"
"""The stream of pools' demand, tick by tick."""

STREAM_INFO: Final = "$JS.API.STREAM.INFO.{}"
MESSAGE_GET: Final = "$JS.API.STREAM.MSG.GET.{}"
DIRECT_GET: Final = "$JS.API.DIRECT.GET.{}"
CONSUMER_CREATE: Final = "$JS.API.CONSUMER.CREATE.{}.{}"
CONSUMER_NEXT: Final = "$JS.API.CONSUMER.MSG.NEXT.{}.{}"

READ: Final = (
    STREAM_INFO.format(LEDGER),
    MESSAGE_GET.format(LEDGER),
    DIRECT_GET.format(LEDGER),
    CONSUMER_CREATE.format(LEDGER, "*"),
    CONSUMER_NEXT.format(LEDGER, "*"),
)
"""What a connection must be able to publish to in order to read and follow the ledger."""

PERMIT: Final = "permit.append"
"""Where the sealer says that one may append. The sealer alone may publish there, and every writer hears it."""

INTAKE: Final = "in.>"
DEAD_LETTERS: Final = "dead.>"
TELEMETRY_OF: Final = "telemetry.{}"
"""An org's telemetry, or that of all with `*`. signal alone may publish there."""

READ_TELEMETRY: Final = (STREAM_INFO.format(TELEMETRY), DIRECT_GET.format(TELEMETRY))
"""What a connection must be able to publish to in order to read the telemetry."""


INBOXES: Final = "_INBOX"
"""How every inbox begins, ours and those of plain clients."""


@dataclass(frozen=True, slots=True)
class Permit:
    """One user of the bus and the subjects that it may publish to and subscribe to.

    `allow_responses` lets it answer a message it received, wherever the asker wants the answer.
    """

    name: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    allow_responses: bool = False

    @property
    def inbox(self) -> str:
        """The prefix of the subjects on which this user gets its answers."""
        return inbox(self.name)

    def may_publish(self, subject: str) -> bool:
        """True when the bus takes a message of this user on `subject`."""
        return any(covers(allowed, subject) for allowed in self.publish)

    def may_subscribe(self, subject: str) -> bool:
        """True when the bus lets this user listen on `subject`, which may hold wildcards."""
        return any(covers(allowed, subject) for allowed in self.subscribe)


def inbox(name: str) -> str:
    """The inbox prefix of the user `name`. One of its own for each, for an inbox shared is an inbox read."""
    return f"{INBOXES}_{name}"


def asker(subject: str) -> str:
    """The user that may publish on an intake subject, and therefore did: `in.<org>.<publisher>.<verb>`."""
    _, org, publisher, *_ = [*subject.split("."), "", ""]
    if publisher == FORECAST:
        return "forecaster"
    return OPERATOR if publisher == OPERATOR else f"{org}_{publisher}"


def covers(allowed: str, subject: str) -> bool:
    """True when every subject that `subject` stands for is one that `allowed` stands for.

    `*` is one token and a last `>` one or more, on both sides.
    """
    ours, theirs = allowed.split("."), subject.split(".")
    for index, part in enumerate(ours):
        if part == ">":
            return len(theirs) > index
        if index >= len(theirs) or theirs[index] == ">":
            return False
        if part not in ("*", theirs[index]):
            return False
    return len(ours) == len(theirs)


def writes(writer: Writer, name: str) -> tuple[str, ...]:
    """The subjects of the events that `writer` owns, when it writes under `name`."""
    return tuple(
        dict.fromkeys(f"vs.*.{name}.{row.kind}.*.{row.name}" for row in ROWS if row.writer == writer)
    )


def worker(writer: Writer, host: str | None = None) -> Permit:
    """One worker: its own events, the ledger, permits, its inbox; `signal` also has the intake, the dead letters and the
    telemetry, `forecaster` reads that and asks at the intake.

    The worker of a host may be asked whether it lives.

    `host` is given for the writers that there is one of per host, and only for those.
    """
    per_host = any(row.per_host for row in ROWS if row.writer == writer)
    assert per_host == (host is not None), (writer, host)
    name = writer if host is None else f"{writer}-{host}"
    says, hears = (*writes(writer, name), *READ), (PERMIT, f"{inbox(name)}.>")
    if writer == "signal":
        told = (DEAD_LETTERS, TELEMETRY_OF.format("*"))
        return Permit(name, (*says, *told, *READ_TELEMETRY), (INTAKE, *hears), allow_responses=True)
    if writer == "forecaster":
        return Permit(name, (*says, f"in.*.{FORECAST}.>", *READ_TELEMETRY), hears)
    if writer == "sealer":
        return Permit(name, (*says, PERMIT), hears)
    if host is not None:
        return Permit(name, says, (alive.subject(host), *hears), allow_responses=True)
    return Permit(name, says, hears)


def appends(name: str) -> bool:
    """Whether the user of this name is a worker, who writes into the ledger."""
    return any(name == row.writer or (row.per_host and name.startswith(f"{row.writer}-")) for row in ROWS)


def workers(hosts: Iterable[str]) -> tuple[Permit, ...]:
    """Every worker of a site with these hosts, in the registry's order."""
    names = tuple(hosts)
    permits: list[Permit] = []
    for writer in get_args(Writer):
        if any(row.per_host for row in ROWS if row.writer == writer):
            permits.extend(worker(writer, host) for host in names)
        else:
            permits.append(worker(writer))
    return tuple(permits)


def publisher(org: str, name: str) -> Permit:
    """An outsider: may ask in its own name and hear its own answers, and nothing else.

    Its bus name joins the two with `_`, which neither may contain: no pair is mistaken for another.
    """
    joined = f"{org}_{name}"
    return Permit(joined, (f"in.{org}.{name}.>",), (f"{inbox(joined)}.>",))


def operator() -> Permit:
    """A person at the command line: may read everything, ask for every org, as `operator`, and ask wakers if they live."""
    asks = ("in.*.operator.>", alive.subject("*", OPERATOR))
    return Permit(OPERATOR, (*asks, *READ), (f"{inbox(OPERATOR)}.>",))


def reader(name: str) -> Permit:
    """A view, an audit, a bench: reads the ledger and the telemetry, and says nothing."""
    return Permit(name, (*READ, *READ_TELEMETRY), (f"{inbox(name)}.>",))


def admin() -> Permit:
    """Whoever makes the streams; no worker connects as this one."""
    return Permit("admin", (">",), (">",))
