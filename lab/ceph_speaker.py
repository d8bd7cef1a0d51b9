"""Carries one command a line to a Ceph cluster and its answer back, until its input ends.

Run by Debian's own Python, which alone has Ceph's binding: `/usr/bin/python3 -I ceph_speaker.py CONF`. A line in is
`{"command": {...}, "input": "..."}`, a line out `{"code": 0, "answer": ..., "text": "..."}`.
"""

import json
import sys
from importlib import import_module
from typing import Any

CONNECT_SECONDS = 20


def main() -> None:
    """Every line of the input is answered by one line."""
    cluster = import_module("rados").Rados(conffile=sys.argv[1], name="client.admin")
    cluster.connect(timeout=CONNECT_SECONDS)
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        command = json.dumps({"format": "json", **asked["command"]})
        code, out, text = cluster.mon_command(command, asked.get("input", "").encode())
        try:
            answer = json.loads(out) if out else None
        except ValueError:
            answer = out.decode()
        print(json.dumps({"code": code, "answer": answer, "text": text}), flush=True)  # noqa: T201 - its voice


if __name__ == "__main__":
    main()
