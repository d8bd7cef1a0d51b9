"""How far the ledger was read and sealed, and what is new in it: a frozen value, and its fold over raw messages."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Told:
    """The last `ledger.sealed` that the ledger holds: its place, and when the bus stored it."""

    seq: int
    stored_ns: int


@dataclass(frozen=True, slots=True)
class State:
    """Sequences are counts as well, for the ledger has no holes: 1 to `sealed` are sealed, 1 to `read` were read."""

    sealed: int
    read: int
    new: int = 0
    """Messages that were read, are not sealed, and are not the sealer's own."""
    new_since: float | None = None
    """When the first of those was read, in seconds of the loop's clock."""
    told: Told | None = None

    def after_reading(self, seq: int, stored_ns: int, *, own: bool, now: float) -> "State":
        """Message `seq`, the next one, was read; `own` when it stands where the sealer writes `ledger.sealed`."""
        assert seq == self.read + 1, (seq, self.read)
        if own:
            return replace(self, read=seq, told=Told(seq, stored_ns))
        since = now if self.new_since is None else self.new_since
        return replace(self, read=seq, new=self.new + 1, new_since=since)

    def after_sealing(self, size: int, *, new_left: int, now: float) -> "State":
        """A checkpoint covers `size` messages; of those read since, `new_left` are new."""
        assert self.sealed <= size <= self.read, (self.sealed, size, self.read)
        return replace(self, sealed=size, new=new_left, new_since=now if new_left else None)
