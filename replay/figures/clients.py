"""What users of a pool saw, counted where they sit: the ledger cannot know how long a request waited.

A run that sends requests writes this file beside its report; `virtscale replay report --clients FILE` shows it.
"""

import datetime as dt
from typing import Annotated, Final, Literal

import msgspec

FORMAT: Final = "virtscale.clients/1"

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Milliseconds = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]
_Moment = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class ClientsError(ValueError):
    """The file is not what clients counted; the sentence says where it is wrong."""

    code = "ClientsUnreadable"


class Clients(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run. A request's time counts from when it was due. `fresh` ones were answered by a VM that had just been woken.

    A `waited` one is fresh and took more than `wait_ms` longer than the steady median, which is that of all others.
    """

    format: Literal["virtscale.clients/1"]
    source: Annotated[str, msgspec.Meta(max_length=200)]
    began_at: _Moment
    ended_at: _Moment
    requests: _Count
    failed: _Count
    fresh: _Count
    waited: _Count
    wait_ms: _Milliseconds
    fresh_seconds: _Count
    """For how long after it was announced a VM counts as just woken."""
    steady_p50_ms: _Milliseconds | None
    p50_ms: _Milliseconds | None
    p99_ms: _Milliseconds | None
    tax_ms: _Milliseconds | None
    """The mean of what fresh requests took beyond the steady median; None where there were none."""
    units: _Count
    """Each +1 of the VMs that demand needed at most in the last 90 s."""
    hits: _Count
    absorbed: _Count
    late: _Count
    seconds: _Count
    short_seconds: _Count
    """Seconds in which demand needed more VMs than served."""


def read(data: bytes) -> Clients:
    """The file's content. Raises `ClientsError`."""
    try:
        return msgspec.json.decode(data, type=Clients)
    except (msgspec.DecodeError, ValueError) as error:
        raise ClientsError(
            f"This is no file of what clients counted: {error}. `virtscale demo day` writes one beside its report."
        ) from error
