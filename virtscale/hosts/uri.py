"""Where a hypervisor is: which libvirt URIs are taken, and what one of them answers when it is tried."""

import re
import threading
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import libvirt

from schemas.house import HostPlace
from virtscale.exits import EXIT_USAGE
from virtscale.hosts.added import HostError

SCHEMES: Final = {
    "qemu": "unix",
    "qemu+unix": "unix",
    "qemu+tls": "tls",
    "qemu+ssh": "ssh",
    "test": "test",
}
"""What is taken, and how it travels. Plain TCP is not: nobody would know who answers."""

TRY_SECONDS: Final = 15.0
MOST_CHARACTERS: Final = 500
MOST_SAID: Final = 160
_LOOPBACK: Final = "127.0.0.1"
_PATHS: Final = frozenset({"/session", "/system"})
_SILENT: Final = re.compile(
    r"refused|timed out|timeout|unreachable|no route|resolve|not known|no such file", re.IGNORECASE
)
"""How libvirt and ssh say that nobody answered, as opposed to one who answered and said no."""

_CODES: Final = {"tls": ("HostTlsFailed", "TLS"), "ssh": ("HostSshFailed", "SSH")}


@dataclass(frozen=True, slots=True)
class Uri:
    """A libvirt URI that may be used, and the machine it names: empty for this one."""

    text: str
    travels: str
    machine: str

    @property
    def address(self) -> str:
        """Where guests of that machine are reached, if nobody says otherwise."""
        return self.machine or _LOOPBACK


@dataclass(frozen=True, slots=True)
class Found:
    """What a hypervisor that answered says of itself."""

    libvirt_version: int
    vcpu: int
    memory_mib: int


def read(text: str) -> Uri:
    """The URI, complete; `HostError` with a sentence for one that is not taken.

    An SSH URI gets `no_tty=1`: a worker cannot type a password, and would wait for one for ever.
    """
    if len(text) > MOST_CHARACTERS or not text.isascii() or not text.isprintable() or " " in text:
        raise _wrong(f"A libvirt URI has at most {MOST_CHARACTERS} printable ASCII characters without blanks")
    try:
        parts = urlsplit(text)
        machine, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _wrong(f"{text} is no URI ({error})") from None
    travels = SCHEMES.get(parts.scheme)
    if travels is None:
        raise HostError(
            "HostSchemeUnknown",
            f"{parts.scheme or text!r:.60} is no way to a hypervisor: write qemu+tls://HOST/system, "
            "qemu+ssh://USER@HOST/system or qemu:///session?socket=PATH. Nothing was added.",
            EXIT_USAGE,
        )
    if travels in {"tls", "ssh"} and not machine:
        raise _wrong(f"{text} names no machine: write {parts.scheme}://HOST/system")
    if travels == "unix" and (machine or port):
        raise _wrong(
            f"{text} names a machine, and a unix socket is on this one: write qemu+tls:// or qemu+ssh://"
        )
    if parts.password is not None:
        raise _wrong("A URI with a password in it would be in the ledger for ever: use an SSH key")
    if travels != "test" and parts.path not in _PATHS:
        raise _wrong(f"{text} has the path {parts.path or '(none)'}: write /system or /session")
    if travels == "test" and parts.path in {"", "/"}:
        raise _wrong(f"{text} names no test host: write test:///default")
    query = dict(parse_qsl(parts.query))
    if travels == "ssh" and "no_tty" not in query:
        query["no_tty"] = "1"
        parts = parts._replace(query=urlencode(query, safe="/"))
        text = urlunsplit(parts)
    return Uri(text, travels, machine)


def require_new(uri: Uri, name: str, places: tuple[HostPlace, ...]) -> None:
    """`HostError` where the house has a host of this name, or this very hypervisor under another."""
    for place in places:
        if place.uri == uri.text and not uri.text.startswith("test:///default"):
            raise HostError(
                "HostAlreadyAdded",
                f"{uri.text} is in the house already, as host {place.name}. Nothing was added.",
            )
        if place.name == name:
            raise HostError(
                "HostNameTaken",
                f"There is a host {name} already, at {place.uri}. Choose another name; nothing was added.",
            )


def probe(uri: Uri, seconds: float = TRY_SECONDS) -> Found:
    """What the hypervisor answers; `HostError` in one sentence that tells silence from a refused TLS or SSH.

    The trap: libvirt's open cannot be interrupted, so it runs in a thread that is left behind when the time is over.
    """
    answers: list[Found | libvirt.libvirtError] = []

    def ask() -> None:
        try:
            answers.append(_ask(uri.text))
        except libvirt.libvirtError as error:
            answers.append(error)

    asking = threading.Thread(target=ask, name="host probe", daemon=True)
    asking.start()
    asking.join(seconds)
    if not answers:
        raise HostError(
            "HostUnanswered", f"{uri.text} did not answer within {seconds:g} s. Nothing was added."
        )
    answer = answers[0]
    if isinstance(answer, Found):
        return answer
    said = " ".join(str(answer).split())[:MOST_SAID].rstrip(".")
    code, word = _CODES.get(uri.travels, ("HostUnanswered", ""))
    silent = _SILENT.search(said) is not None and "certificate" not in said
    if silent or not word:
        raise HostError("HostUnanswered", f"No hypervisor answers at {uri.text}: {said}. Nothing was added.")
    raise HostError(code, f"{word} failed on the way to {uri.text}: {said}. Nothing was added.")


def _ask(uri: str) -> Found:
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = libvirt.open(uri)
    try:
        info = connection.getInfo()
        return Found(connection.getLibVersion(), int(info[2]), int(info[1]))
    finally:
        connection.close()


def _wrong(text: str) -> HostError:
    return HostError("HostUriWrong", f"{text}. Nothing was added.", EXIT_USAGE)
