"""Whether an archive holds a beginning of the ledger, asked before anything goes that holds it as well."""

from events.tlog.files import Files
from events.tlog.note import NoteError
from events.tlog.reader import Archive
from events.tlog.tiles import TileError
from replay.audit.hashed import Hashed
from replay.audit.trust import trusted


def lacking(files: Files, size: int, root: bytes) -> str:
    """Empty when the first `size` entries are here and lead up to `root`; else a sentence on what is not.

    Hashes every one of them, at 200,000 a second and core. No signature is asked for: whoever wrote the root down
    had verified it.
    """
    try:
        held = Archive(files).size
    except (NoteError, TileError) as error:
        return str(error)
    if held < size:
        return f"its checkpoint covers {held} events." if held else "it is empty."
    hashed = Hashed(files, size)
    hashed.through(None, events=False)
    proven = trusted(size, root, hashed.of, hashed.tile) if size else 0
    return "" if proven == size else f"entry {proven + 1} is not there, or not as it was sealed."
