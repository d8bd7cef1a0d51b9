"""Where an archive and its public key are: named by the caller, or those of the house."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from events.tlog.checkpoint import parse
from events.tlog.files import DirectoryFiles, Files
from events.tlog.note import Verifier, split
from events.tlog.reader import CHECKPOINT
from replay.audit.tarred import files_at
from replay.audit.verify import UnverifiableError, parsed_key, verifier_of
from schemas.house import House
from virtscale.invocation import present_house


@contextmanager
def archive_of(export: Path | None) -> Generator[tuple[Files, House | None]]:
    """The files of the archive: those of an export, or the sealer's, and then the house that they are of."""
    if export is None:
        house = present_house()
        yield DirectoryFiles(Path(house.audit)), house
        return
    with files_at(export) as files:
        yield files, None


def claimed_origin(files: Files) -> str | None:
    """Whose log the archive says that it is, believed in nothing; None where there is no checkpoint. Raises `NoteError`."""
    data = files.read(CHECKPOINT)
    return None if data is None else parse(split(data)[0]).origin


def key_of(vkey: Path | None, files: Files) -> Verifier:
    """The key in the file that was named, else the archive's own."""
    return verifier_of(files) if vkey is None else named_key(vkey)


def named_key(vkey: Path) -> Verifier:
    """The key in the file; `UnverifiableError` where there is none."""
    try:
        return parsed_key(vkey.read_bytes(), str(vkey))
    except OSError as error:
        raise UnverifiableError(f"The key {vkey} cannot be read: {error.strerror}.") from error
