"""What is found otherwise than the ledger has it: domains and disks that somebody changed behind its back."""

from events.fact import Fact, Moment
from schemas.capacity import Size
from schemas.names import Count, Id, Name, Text, Word


class DomainDrifted(Fact, frozen=True):
    """The VM's domain is not as the ledger has it; what counts from here on is what was found."""

    vm: Name
    host: Name
    what: Word
    """`missing`, `elsewhere`, `size`, `disk`, and others to come."""
    expected: Text
    found: Text
    repair: Word
    """`at-next-boot`, `reboot`, `stop`, or `none` where only a person can say what is right."""
    reservation: Id | None
    """The life of a VM that runs with another size."""
    size: Size | None
    """The size with which it runs."""
    observed_at: Moment


class DomainSettled(Fact, frozen=True):
    """The VM's domain is as the ledger has it again."""

    vm: Name
    host: Name
    what: Word
    settled_at: Moment


class VolumeDrifted(Fact, frozen=True):
    """The VM's disk is not as the ledger has it; what counts from here on is what was found."""

    vm: Name
    host: Name
    what: Word
    """`missing`, `size`, `parent`, and others to come."""
    expected: Text
    found: Text
    repair: Word
    size_bytes: Count | None
    """What the disk has, where there is one."""
    observed_at: Moment


class VolumeSettled(Fact, frozen=True):
    """The VM's disk is as the ledger has it again."""

    vm: Name
    host: Name
    what: Word
    settled_at: Moment


class VmOomKilled(Fact, frozen=True):
    """The guest's kernel killed processes for want of memory; its agent told of it."""

    vm: Name
    host: Name
    reservation: Id
    kills: Count
    """Since it was last looked at, within this boot."""
    memory_mib: Count
    advice: Text
    observed_at: Moment
