"""Reading a ledger into an org's accounts, and how far those then go."""

from replay.history import Told, fold
from replay.metering import moment_of
from replay.source import Source
from replay.statement.accounts import Accounts


async def read_month(
    source: Source, accounts: Accounts, now_ns: int | None, progress: Told | None = None
) -> None:
    """The accounts include the month and are closed: at `now_ns`, or at the month's end if that is earlier.

    Without `now_ns` no more is known than the ledger's last event, as of an export, unless a message stands behind the
    month. That is asked of the last place that was read, and not of the last event: a message that no pen wrote has a
    place and is no event. Raises `StatementError` where the org is unknown, and the errors of `replay.history.fold`.
    """
    last, end_ns = await source.last(), accounts.month.end_ns
    seq = await fold(source, [accounts], moment_of(end_ns), progress)
    if now_ns is None:
        now_ns = end_ns if seq < last else 0
    accounts.close(now_ns)
