"""However an archive is hurt: verify says so, and what it still trusts is what was sealed."""

from hypothesis import given
from hypothesis import strategies as st

from events.tlog.checkpoint import opened
from events.tlog.leaf import entry
from events.tlog.note import Verifier
from replay.audit.verify import verify
from tests.laws.strength import examples
from tests.rules.archives import SIGNER, MemoryFiles, messages, sealed

KEY = Verifier.parse(SIGNER.vkey)
SIZES = (1, 255, 256, 257, 700, 1024)
STORED = messages(max(SIZES))
WHOLE = {size: sealed(STORED[:size]) for size in SIZES}


@st.composite
def hurt(draw: st.DrawFn) -> tuple[int, MemoryFiles]:
    """An archive of some size with one to three things done to its files."""
    size = draw(st.sampled_from(SIZES))
    files = WHOLE[size].copy()
    files.remove("vkey")  # the key is given, so this one is nobody's
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(sorted(files.files) or ["checkpoint"]))
        data = files.files.get(path, b"")
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["flip", "cut", "remove", "swap", "repeat"])):
            case "flip" if data:
                files.alter(path, at, 1 << draw(st.integers(0, 7)))
            case "cut":
                files.files[path] = data[:at]
            case "remove":
                files.remove(path)
            case "repeat":
                files.files[path] = data[:at] + data[at // 2 :]
            case _:
                other = draw(st.sampled_from(sorted(files.files) or [path]))
                files.files[path], files.files[other] = files.files.get(other, b""), data
    return size, files


@examples(200)
@given(hurt())
def test_damage_is_always_seen_and_nothing_is_trusted_that_was_not_sealed(
    case: tuple[int, MemoryFiles],
) -> None:
    size, files = case
    verified = verify(files, KEY)
    touched = {
        path for path, data in WHOLE[size].files.items() if path != "vkey" and files.files.get(path) != data
    }
    if verified.ok:
        # The one change that means nothing: another spelling of the same signature.
        assert touched <= {"checkpoint"}
        assert opened(files.files["checkpoint"], KEY).size == size
    trusted = verified.verdicts[0].trusted_to
    assert trusted <= size
    assert all(_entry(files, seq) == entry(STORED[seq - 1]) for seq in range(1, trusted + 1))


def _entry(files: MemoryFiles, seq: int) -> bytes | None:
    """The entry as the files have it, read in the simplest way."""
    bundle = (seq - 1) // 256
    for path in sorted(path for path in files.files if path.startswith(f"tile/entries/{bundle:03d}")):
        data, at = files.files[path], 0
        for _ in range((seq - 1) % 256):
            at += 2 + int.from_bytes(data[at : at + 2])
        return data[at + 2 : at + 2 + int.from_bytes(data[at : at + 2])]
    return None
