"""The serial line of a VM at this terminal, by way of its host's libvirt: what is typed goes there, what it says comes here.

All goes through one event loop, libvirt's own, in the caller's thread: a host that is reached over the network is watched for
signs of life by that loop too.
"""

import functools
import os
import termios
import tty
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Literal, cast

import libvirt

from services.waker.port import domain_name
from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND
from virtscale.invocation import present_house
from virtscale.show import say
from virtscale.vms.errors import ConsoleError
from virtscale.vms.named import row_of

Ending = Literal["left", "closed"]
"""The person left, or the line was closed from the other side: the VM is off, or somebody took the line over."""

LEAVE: Final = b"\x1d"
"""Ctrl-], which ends it, as in `virsh console` and telnet."""

KEEPALIVE: Final = (5, 3)
"""Seconds between signs of life, and how many may fail: a silent host is given up after 20 s."""

_CHUNK_BYTES: Final = 4096
_MOST_TYPED_BYTES: Final = 64 * 1024
"""What a VM that does not listen is kept of what is typed; more is dropped, as a terminal does."""
_WAIT: Final = -2
_READ: Final = libvirt.VIR_STREAM_EVENT_READABLE
_WRITE: Final = libvirt.VIR_STREAM_EVENT_WRITABLE
_LOST: Final = libvirt.VIR_STREAM_EVENT_ERROR | libvirt.VIR_STREAM_EVENT_HANGUP
_OFF: Final = frozenset({libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN})


_VM: Final = """
SELECT org, vm, host, state FROM vms WHERE vm = ? AND (? = '' OR org = ?) ORDER BY org
"""
_SLEEPING: Final = frozenset({"quiesced", "saving"})


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where the person is: what is typed is read from the file `keys`, what the VM says is written to `screen`."""

    keys: int = 0
    screen: int = 1


def show_console(vm: str, *, force: bool) -> int:
    """The person was at the line of a VM of the house; the exit code. Raises `ConsoleError`."""
    row = row_of(vm, _VM)
    if row is None:
        return EXIT_NOT_FOUND
    named = f"{row['org']}/{row['vm']}"
    place = next((place for place in present_house().hosts if place.name == row["host"]), None)
    if place is None:
        raise ConsoleError(f"{named} is on host {row['host']}, which the house does not know any more.")

    def ready() -> None:
        say(f"At the line of {named}; Ctrl-] leaves it. Press Enter if nothing is there.")
        if row["state"] in _SLEEPING:
            say(f"{named} sleeps, and answers when it is woken.")

    ending = attach(
        place.uri,
        domain_name(str(row["org"]), str(row["vm"])),
        Terminal(),
        force=force,
        ready=ready,
    )
    say(
        ""
        if ending == "left"
        else f"\nThe line of {named} was closed: the VM was stopped, or somebody took the line over."
    )
    return EXIT_DONE


def attach(
    uri: str, domain: str, terminal: Terminal, *, force: bool = False, ready: Callable[[], None]
) -> Ending:
    """The terminal and the domain's serial line were one until Ctrl-] was typed, the keys ended, or the line was closed.

    `ready` is called once the line is open. One person at a time has it; `force` takes it from whoever has. Raises
    `ConsoleError`. What the VM said before is not shown again: its log has that. The trap: libvirt has one event loop per
    process, so do not call this where another thread runs it already.
    """
    _event_loop()
    try:
        connection = libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise ConsoleError(f"The host's libvirt at {uri} cannot be reached: {_said(error)}.") from error
    try:
        with suppress(libvirt.libvirtError):  # not every kind of connection has it
            connection.setKeepAlive(*KEEPALIVE)
        line = _Line(terminal, _opened(connection, domain, force=force))
        ready()
        with _raw(terminal.keys):
            return line.work()
    except libvirt.libvirtError as error:
        raise ConsoleError(f"The line to {domain} was lost: {_said(error)}.") from error
    finally:
        with suppress(libvirt.libvirtError):
            connection.close()


def _opened(connection: libvirt.virConnect, domain: str, *, force: bool) -> libvirt.virStream:
    stream = connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
    try:
        how = libvirt.VIR_DOMAIN_CONSOLE_FORCE if force else libvirt.VIR_DOMAIN_CONSOLE_SAFE
        # Without a name it is the first line that the domain has; the binding says that it wants one.
        cast("Callable[..., int]", connection.lookupByName(domain).openConsole)(None, stream, how)
    except libvirt.libvirtError as error:
        if error.get_error_code() in _OFF:
            raise ConsoleError(
                f"{domain} does not run, so nobody answers on its line; start it first."
            ) from error
        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_FAILED:
            raise ConsoleError(
                f"Somebody else is at the line of {domain}; ask them to leave, or take it over with --force."
            ) from error
        raise ConsoleError(f"{domain} has no line that can be opened: {_said(error)}.") from error
    return stream


class _Line:
    """One open line. What was typed and is not taken yet is bounded, and a person can leave a VM that takes nothing."""

    def __init__(self, terminal: Terminal, stream: libvirt.virStream) -> None:
        self._terminal = terminal
        self._stream = stream
        self._typed = b""
        self._watch = -1
        self._ending: Ending | None = None
        self._no_more = False
        self._failure: BaseException | None = None

    def work(self) -> Ending:
        """The line is closed; errors of the callbacks, which libvirt would only print, come through here."""
        self._stream.eventAddCallback(_READ | _LOST, self._guarded(self._on_stream), None)
        self._watch = libvirt.virEventAddHandle(
            self._terminal.keys, libvirt.VIR_EVENT_HANDLE_READABLE, self._guarded(self._on_keys), None
        )
        try:
            while self._ending is None and self._failure is None:
                libvirt.virEventRunDefaultImpl()
        finally:
            libvirt.virEventRemoveHandle(self._watch)
            with suppress(libvirt.libvirtError):  # the line may be gone already
                self._stream.eventRemoveCallback()
            with suppress(libvirt.libvirtError):
                self._stream.abort()
        if self._failure is not None:
            raise self._failure
        assert self._ending is not None
        return self._ending

    def _guarded(self, call: Callable[[int], None]) -> Callable[..., None]:
        def guarded(*arguments: object) -> None:
            # libvirt gives (stream, events, own) of a stream and (watch, file, events, own) of a file.
            try:
                call(cast("int", arguments[-2]))
            except BaseException as error:  # noqa: BLE001 - raised again by whoever runs the loop
                self._failure = error

        return guarded

    def _on_stream(self, events: int) -> None:
        if events & _READ:
            try:
                said = cast("bytes | int", self._stream.recv(_CHUNK_BYTES))
            except libvirt.libvirtError:
                # Whoever is put out hears of an error; it is one when the host itself is away.
                if not self._stream.connect().isAlive():
                    raise
                said = b""
            if said == b"":
                self._ending = "closed"
                return
            if isinstance(said, bytes):
                _write_all(self._terminal.screen, said)
        if events & _WRITE:
            self._send()
        if events & _LOST and not events & _READ:
            self._ending = "closed"

    def _on_keys(self, _events: int) -> None:
        typed = os.read(self._terminal.keys, _CHUNK_BYTES)
        before, leave, _ = typed.partition(LEAVE)
        self._typed = (self._typed + before)[:_MOST_TYPED_BYTES]
        self._no_more = not typed
        self._send()
        if leave:
            self._ending = "left"

    def _send(self) -> None:
        while self._typed:
            sent = self._stream.send(self._typed)
            if sent == _WAIT:
                break
            self._typed = self._typed[sent:]
        waiting = bool(self._typed)
        if self._no_more and not waiting:
            self._ending = "left"
        self._stream.eventUpdateCallback(_READ | _LOST | (_WRITE if waiting else 0))
        # A file can wait; a person at a terminal must be heard, who may want to leave.
        deaf = self._no_more or (waiting and not os.isatty(self._terminal.keys))
        libvirt.virEventUpdateHandle(self._watch, 0 if deaf else libvirt.VIR_EVENT_HANDLE_READABLE)


def _write_all(file: int, said: bytes) -> None:
    while said:
        said = said[os.write(file, said) :]


@contextmanager
def _raw(keys: int) -> Generator[None]:
    """Every key goes to the VM as it is, Ctrl-C too; afterwards the terminal is as it was. Only a terminal has such a thing."""
    if not os.isatty(keys):
        yield
        return
    before = termios.tcgetattr(keys)
    tty.setraw(keys, termios.TCSANOW)
    try:
        yield
    finally:
        termios.tcsetattr(keys, termios.TCSAFLUSH, before)


def _said(error: libvirt.libvirtError) -> str:
    return (error.get_error_message() or str(error)).rstrip(".")


@functools.cache
def _event_loop() -> None:
    """libvirt's loop is registered: once per process, and before the first connection."""
    # A plain user's client would start a libvirtd of that user when ours is away, and wait for it in vain.
    os.environ.setdefault("LIBVIRT_AUTOSTART", "0")
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    libvirt.virEventRegisterDefaultImpl()
