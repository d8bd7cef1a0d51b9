"""One child with the system's own Python that speaks to Ceph, and is killed when it does not answer in time.

Why a child: Ceph's binding exists for Debian's own Python alone, whichever of 3.11 to 3.13 we run on; and a call that a full or
broken cluster never answers holds a thread for ever, but a child can be killed. Ceph's own commands would do both too, at 40 to 200 ms
a call, since each connects anew; the child connects once, and passes a call on within a millisecond.
"""

import json
import select
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import IO, Any, Final, NoReturn

from services.storage.errors import StorageError
from services.storage.tied import TIED

PYTHON: Final = "/usr/bin/python3"
CHILD: Final = Path(__file__).with_name("child.py")
START_SECONDS: Final = 25.0
"""It gives up to connect by itself after 20 s."""
MEND: Final = "apt-get install --no-install-recommends python3-rados python3-rbd"

_CHUNK_BYTES: Final = 1 << 16


class CephError(StorageError):
    """Ceph said no; `kind` is its binding's name for it."""

    code = "Ceph"

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Speaker:
    """The child, started at the first call. Blocks: of two threads that ask it, the second waits for the first's answer."""

    def __init__(self, conf: Path, user: str = "client.admin", child: Path = CHILD) -> None:
        self._argv = (*TIED, PYTHON, "-I", str(child), str(conf), user)
        self._conf = conf
        self._child: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()
        self._words: IO[bytes] | None = None
        """What the child says beside its answers; a pipe that nobody reads would fill, and hold it."""

    @property
    def pid(self) -> int | None:
        """The child's, where there is one."""
        return self._child.pid if self._child is not None else None

    def ask(self, call: str, seconds: float, /, **arguments: object) -> Any:
        """The cluster's answer. Raises `CephError`, or `StorageError` that is `lost` where none came in time."""
        with self._turn:
            return self._asked(call, seconds, arguments)

    def close(self) -> None:
        """The child is gone, and what it was asked but had not sent on is never done."""
        child, self._child = self._child, None
        words, self._words = self._words, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()
        if words is not None:
            words.close()

    def _asked(self, call: str, seconds: float, arguments: dict[str, object]) -> Any:
        child, extra = self._child, 0.0
        if child is None or child.poll() is not None:
            self.close()
            child = self._child = self._start()
            extra = START_SECONDS
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps([call, arguments]).encode() + b"\n")
            child.stdin.flush()
            line = _line(child.stdout, seconds + extra)
        except BrokenPipeError:
            line = b""
        except TimeoutError:
            self.close()
            raise StorageError(
                f"Ceph ({self._conf}) did not answer within {seconds:g} s when asked to {call}.", lost=True
            ) from None
        if not line:
            self._mourn(child, call)
        said = json.loads(line)
        if "error" in said:
            raise CephError(said["error"], said["text"])
        return said["answer"]

    def _start(self) -> "subprocess.Popen[bytes]":
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - the child's for as long as it lives
        try:
            return subprocess.Popen(  # noqa: S603 - our own file, by the system's Python
                self._argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise StorageError(
                f"{PYTHON} cannot be run ({error.strerror}); Ceph is asked through it.", final=True
            ) from error

    def _mourn(self, child: "subprocess.Popen[bytes]", call: str) -> NoReturn:
        """The child ended instead of answering: its last words are the reason."""
        child.kill()
        child.wait()
        assert self._words is not None
        self._words.seek(0)
        said = self._words.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
        self.close()
        without = "ModuleNotFoundError" in said[-1]
        mend = f" Run `{MEND}`." if without else ""
        raise StorageError(
            f"Ceph ({self._conf}) was not reached when asked to {call}: {said[-1]}.{mend}",
            lost=not without,
            final=without,
        )


def _line(pipe: IO[bytes], seconds: float) -> bytes:
    """A line, or what came of one before the other end closed; TimeoutError where it takes longer between two pieces."""
    pieces: list[bytes] = []
    waiting = select.poll()  # select() itself fails in a process with more than a thousand open files
    waiting.register(pipe, select.POLLIN)
    while not (pieces and pieces[-1].endswith(b"\n")):
        if not waiting.poll(seconds * 1000):
            raise TimeoutError
        piece = pipe.read(_CHUNK_BYTES)
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces)
