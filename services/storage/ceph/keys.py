"""The key of an org's user in a cluster, as a host's libvirt knows it."""

import base64
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import libvirt

from schemas.volume import ClusterSource, secret_usage, secret_xml


def tell(connection: libvirt.virConnect, source: ClusterSource, cluster: str, key: str) -> ClusterSource:
    """The source with the name of the secret by which that libvirt has the key (base64) from here on. Blocks; safe to repeat.

    `cluster` is the cluster's own name. It is kept by libvirt over its restarts, in a file for its own user alone: a domain can be
    started without us.
    """
    known = str(uuid.uuid5(uuid.UUID(cluster), source.user))
    try:
        # One of another cluster, that is gone, keeps its name: libvirt has one secret for each use.
        known = connection.secretLookupByUsage(
            libvirt.VIR_SECRET_USAGE_TYPE_CEPH, secret_usage(source.user)
        ).UUIDString()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SECRET:
            raise
    told = replace(source, secret=known)
    give = cast("Callable[[bytes], int]", connection.secretDefineXML(secret_xml(told)).setValue)
    give(base64.b64decode(key))  # bytes, whatever its own description says
    return told
