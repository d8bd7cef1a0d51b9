"""What main.go checks with Go's packages, checked with PyPI's `aics-tlog` (Python 3.12 and newer): same words, same answers."""

import base64
import importlib
import sys
from pathlib import Path
from typing import Any


def opened(aics: Any, note: str, key: Any) -> Any:
    """Size and root that the log of this key signed."""
    checked = aics.verify_checkpoint(aics.parse_note(note), key, expected_origin=key.name)
    if not checked.log_ok:
        sys.exit(f"aics-tlog: checkpoint: {checked.error}")
    return checked


def past(aics: Any, old: str, key: Any, tree: Any) -> Any:
    """The older checkpoint in the file, which may not be of more entries."""
    before = opened(aics, Path(old).read_text(encoding="utf-8"), key)
    if before.size > tree.size:
        sys.exit(f"aics-tlog: cut: {before.size} entries were sealed before, {tree.size} are left")
    return before


def goes_on(aics: Any, before: Any, tree: Any, path: list[bytes]) -> None:
    if not aics.verify_consistency(before.size, tree.size, before.root, tree.root, path):
        sys.exit(f"aics-tlog: history rewritten since {before.size} entries")


def parts(path: str) -> tuple[list[str], list[bytes], str]:
    """The lines before the hashes, the hashes, and the note under the blank line."""
    above, _, note = Path(path).read_text(encoding="utf-8").partition("\n\n")
    lines = above.split("\n")
    head = [line for line in lines if " " in line or "@" in line]
    return head, [base64.b64decode(line) for line in lines if line not in head], note


def archive(aics: Any, root: str, key: Any, old: str | None) -> str:
    tree = opened(aics, (Path(root) / "checkpoint").read_text(encoding="utf-8"), key)
    files = aics.FileSystemTileReader(root)
    try:
        report = aics.audit_tiles(files, tree.size, tree.root)
    except (aics.TileMissingError, aics.TileVerificationError, ValueError) as error:
        sys.exit(f"aics-tlog: tiles: {error}")
    if old is not None:
        before = past(aics, old, key, tree)
        goes_on(aics, before, tree, aics.consistency_proof_from_tiles(files, before.size, tree.size))
    return f"archive of {report.size} entries accepted"


def event(aics: Any, proof: str, entry: str, key: Any) -> str:
    (_, index), path, note = parts(proof)
    tree = opened(aics, note, key)
    leaf = aics.leaf_hash(Path(entry).read_bytes())
    if not aics.verify_inclusion(leaf, int(index.removeprefix("index ")), tree.size, path, tree.root):
        sys.exit(f"aics-tlog: entry {index.removeprefix('index ')} is not proven")
    return f"entry {index.removeprefix('index ')} of {tree.size} accepted"


def main(arguments: list[str]) -> str:
    aics: Any = importlib.import_module("aics_tlog")

    def key_in(path: str) -> Any:
        return aics.parse_vkey(Path(path).read_text(encoding="utf-8").strip())

    match arguments:
        case ["archive", root, vkey, *old]:
            return archive(aics, root, key_in(vkey), old[0] if old else None)
        case ["event", proof, entry, vkey]:
            return event(aics, proof, entry, key_in(vkey))
        case ["goes-on", request, old, vkey]:
            _, path, note = parts(request)
            tree = opened(aics, note, key_in(vkey))
            goes_on(aics, past(aics, old, key_in(vkey), tree), tree, path)
            return f"checkpoint of {tree.size} entries goes on from the old one"
        case _:
            return sys.exit("usage: as main.go")


if __name__ == "__main__":
    print(main(sys.argv[1:]))
