"""What a command's exit code means."""

from typing import Final

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_REFUSED: Final = 3
"""Past the signed cap: nothing, or not all, was started."""
EXIT_NOT_FOUND: Final = 5
EXIT_TIMEOUT: Final = 6
"""Not ended in time; the request goes on."""
EXIT_INTERRUPTED: Final = 130
