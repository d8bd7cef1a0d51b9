"""A host's libvirt is told of a cluster in a way that whoever describes a domain reads again."""

from xml.etree import ElementTree as ET

from schemas.volume import ClusterSource, in_cluster, monitors_of, secret_usage, secret_xml

SOURCE = ClusterSource("org-acme/db", ("10.0.0.1:3300", "[fe80::1]:3300"), "org-acme", "5d0f3d2a")


def test_the_secret_of_a_user_says_where_the_cluster_answers_and_nothing_secret() -> None:
    secret = ET.fromstring(secret_xml(SOURCE))
    assert monitors_of(secret.findtext("description") or "") == SOURCE.monitors
    assert secret.findtext("usage/name") == secret_usage("org-acme")
    assert (secret.attrib["private"], secret.findtext("uuid")) == ("yes", SOURCE.secret)


def test_somebody_elses_secret_says_nothing_of_the_kind() -> None:
    assert monitors_of("the key of client.org-acme") == ()
    assert monitors_of("") == ()


def test_a_file_has_an_absolute_path_and_an_image_is_in_a_pool() -> None:
    assert [in_cluster(place) for place in ("/volumes/acme.db.qcow2", "org-acme/db")] == [False, True]
