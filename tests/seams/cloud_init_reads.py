"""Run by a Python that has cloud-init's own modules on its path: what its data source NoCloud makes of an image, as JSON.

Arguments: the image, and an empty folder. What it asks of the system is answered for the image alone: which disks have which
label (by the system's own blkid), and what lies on one (by pycdlib, since mounting takes root and a kernel's module).
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pycdlib
from cloudinit import distros, handlers, helpers, util  # pyright: ignore[reportMissingImports]
from cloudinit.sources import DataSourceNoCloud  # pyright: ignore[reportMissingImports]

image, folder = sys.argv[1:]
seen = subprocess.run(
    ["/sbin/blkid", "-p", "-o", "export", image], check=True, capture_output=True, text=True, timeout=30
).stdout.splitlines()


def find(criteria: str = "", **_others: object) -> list[str]:
    return [image] if criteria in seen else []


def mount(device: str, callback: Callable[..., Any], about: object, **_others: object) -> Any:
    disk = pycdlib.PyCdlib()
    disk.open(device)
    with tempfile.TemporaryDirectory() as mounted:
        for child in disk.list_children(joliet_path="/"):
            if child.is_file():
                name = child.file_identifier().decode("utf-16-be")
                disk.get_file_from_iso(str(Path(mounted) / name.removesuffix(";1")), joliet_path=f"/{name}")
        return callback(mounted, about)


util.find_devs_with, util.mount_cb = find, mount
paths = helpers.Paths({"cloud_dir": folder, "run_dir": f"{folder}/run"})
distro = distros.fetch("debian")("debian", {}, paths)
source = DataSourceNoCloud.DataSourceNoCloud({"datasource": {"NoCloud": {}}}, distro, paths)
found = source._get_data()
parts = [part.get_content_type() for part in source.get_userdata().walk()] if found else []
print(
    json.dumps(
        {
            "found": found,
            "instance_id": source.get_instance_id(),
            "hostname": source.get_hostname().hostname,
            "keys": source.get_public_ssh_keys(),
            "user_data": source.get_userdata_raw().decode("latin-1") if found else "",
            "network": source.network_config,
            "parts": parts,
            "heads": sorted(handlers.INCLUSION_TYPES_MAP),
        }
    )
)
