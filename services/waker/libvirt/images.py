"""Disks in Ceph as a domain is given them: the host's libvirt knows the org's secret, and where the cluster answers.

Storage laid both there when it freed the disk for this start. So the waker has no keys, and no configuration of the cluster.
"""

from xml.etree import ElementTree as ET

import libvirt

from schemas.volume import ClusterSource, in_cluster, monitors_of, secret_usage
from services.waker.libvirt.layers import newest
from services.waker.port import HypervisorError


def disk_of(connection: libvirt.virConnect, volume: str | None) -> str | ClusterSource | None:
    """What a domain of the host is given as its VM's disk: the image, or the file that was written to last. None without a disk."""
    if volume is not None and in_cluster(volume):
        return source_of(connection, volume)
    return newest(connection, volume)


def source_of(connection: libvirt.virConnect, image: str) -> ClusterSource:
    """What a domain of the host is given so that it has the image `pool/image`. `HypervisorError` where the host has no secret for it."""
    user = image.partition("/")[0]
    usage = secret_usage(user)
    try:
        secret = connection.secretLookupByUsage(libvirt.VIR_SECRET_USAGE_TYPE_CEPH, usage)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SECRET:
            raise
        raise HypervisorError(
            f"libvirt at {connection.getURI()} has no secret {usage!r}, and the disk {image} needs it: storage lays it there when "
            "a boot is ordered. Nothing was started."
        ) from error
    described = ET.fromstring(secret.XMLDesc())  # noqa: S314 - libvirt's own words
    monitors = monitors_of(described.findtext("description") or "")
    if not monitors:
        raise HypervisorError(
            f"The secret {usage!r} of libvirt at {connection.getURI()} does not say where the cluster of {image} answers: somebody "
            "else made it. Remove it, and order the boot again. Nothing was started."
        )
    return ClusterSource(image, monitors, user, secret.UUIDString())
