"""Pools, VMs and hosts as they stand: the view behind `virtscale pools` and `vms`, and the workers' memory."""
