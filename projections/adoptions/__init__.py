"""Domains of others that become kept VMs."""
