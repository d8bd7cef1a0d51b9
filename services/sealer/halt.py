"""Why the sealer stops for good, each with its sentence. When it stops, everybody who writes stops with it."""


class SealerError(Exception):
    """The sealer cannot vouch for the ledger; nobody appends until somebody has looked."""

    code = "SealerHalted"


class SealKeyError(SealerError):
    """The key that signs checkpoints is missing, open to others, or not the one that signed before."""

    code = "SealKeyUnusable"


class ArchiveMissingError(SealerError):
    """The ledger was sealed before, and the archive that it was sealed into is not there."""

    code = "ArchiveMissing"


class ArchiveAlteredError(SealerError):
    """The archive is not as it was written: a file is gone, or does not meet the checkpoint."""

    code = "ArchiveAltered"


class ArchiveUnreachableError(SealerError):
    """The archive's disk does not give what is on it, or does not take the little that a start writes."""

    code = "ArchiveUnreachable"


class OriginDiffersError(SealerError):
    """The archive is of another log than the house says."""

    code = "OriginDiffers"


class LedgerShorterError(SealerError):
    """The bus holds less than was sealed or read: it came back with an older copy of its store."""

    code = "LedgerShorter"


class LedgerAlteredError(SealerError):
    """The bus holds something else than what was sealed."""

    code = "LedgerAltered"


class WitnessUnknownError(SealerError):
    """The house names a witness and not the key that its signatures are known by."""

    code = "WitnessUnknown"
