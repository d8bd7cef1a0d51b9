"""The announcer: the only one who touches the load balancer."""
