"""Debian packages as material: downloaded into a folder and unpacked, never installed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab.errors import LabError

DOWNLOAD_SECONDS = 300.0
LOOKUP_SECONDS = 60.0
UPDATE = "apt-get update"


def dependencies(package: str) -> tuple[str, ...]:
    """The names that `package` depends on directly, as apt knows them; empty when apt does not know it."""
    try:
        output = _run(["apt-cache", "depends", package], LOOKUP_SECONDS)
    except LabError:
        return ()
    return tuple(re.findall(r"^\s+Depends: ([^\s<>]+)$", output, re.MULTILINE))


def fetch(package: str, downloads: Path) -> Path:
    """The .deb of `package` in `downloads`; kept there, so a second call needs no network.

    Raises `lab.packages-unavailable`. The trap: a kept file is used whatever newer version exists.
    """
    downloads.mkdir(parents=True, exist_ok=True)
    kept = _kept(package, downloads)
    if kept is not None:
        return kept
    # A cache that other users may not enter cannot be written by apt's own user, so it says so and goes on.
    _run(["apt-get", "download", "-q", package], DOWNLOAD_SECONDS, downloads)
    fetched = _kept(package, downloads)
    if fetched is None:
        raise LabError(
            "lab.packages-unavailable",
            f"apt-get downloaded {package} but left no file in {downloads}; run `{UPDATE}` and try again.",
        )
    return fetched


def unpack(deb: Path, into: Path) -> Path:
    """`into` holds the package's files; nothing of it is run."""
    into.mkdir(parents=True, exist_ok=True)
    _run(["dpkg-deb", "-x", str(deb), str(into)], LOOKUP_SECONDS)
    return into


def _kept(package: str, downloads: Path) -> Path | None:
    found = sorted(downloads.glob(f"{package}_*.deb"), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


def _run(argv: Sequence[str], timeout_seconds: float, directory: Path | None = None) -> str:
    try:
        done = subprocess.run(
            argv, cwd=directory, capture_output=True, text=True, timeout=timeout_seconds, check=True
        )
    except FileNotFoundError as error:
        raise LabError(
            "lab.packages-unavailable",
            f"The guest image is made from Debian packages, and this machine has no {argv[0]}; "
            "use Debian 12 or Ubuntu, or give a machine's cache of a built image.",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise LabError(
            "lab.packages-unavailable",
            f"`{' '.join(argv)}` did not end within {timeout_seconds:g} s; check the network and try again.",
        ) from error
    except subprocess.CalledProcessError as error:
        said = str(error.stderr).strip().splitlines() or ["no reason given"]
        raise LabError(
            "lab.packages-unavailable",
            f"`{' '.join(argv)}` failed: {said[-1]}; run `{UPDATE}` and try again.",
        ) from error
    return done.stdout
