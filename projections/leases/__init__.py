"""Names and addresses of VMs, each of which one VM has at a time."""
