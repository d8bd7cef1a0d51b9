"""`virtscale host`: hypervisors join, are emptied, declared dead and leave."""
