"""What failed to wake lately: the breakers, and the failed VMs that another takes the place of."""
