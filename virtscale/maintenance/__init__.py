"""`virtscale maintenance`: when VMs are worked on, and having it done later."""
