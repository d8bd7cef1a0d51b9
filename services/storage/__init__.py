"""The storage worker: the only one who touches the disks of VMs."""
