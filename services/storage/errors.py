"""What storage is told when something cannot be had of a disk."""


class StorageError(Exception):
    """The host said no, or did not answer; what was asked may still take effect later."""

    code = "Storage"

    def __init__(self, text: str, *, lost: bool = False, final: bool = False) -> None:
        super().__init__(text)
        self.lost = lost
        """There is no connection to the host: it says nothing about the disk."""
        self.final = final
        """Trying again cannot help."""


class WokeError(StorageError):
    """The VM is not asleep any more; nothing was done, or what was begun was taken back."""

    code = "Woke"
