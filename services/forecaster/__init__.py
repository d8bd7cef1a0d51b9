"""How many VMs each pool will need: learned from its own demand, asked for ahead of it."""
