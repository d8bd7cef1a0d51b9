"""How events travel: one interface, NATS JetStream behind it, and a twin in memory with the same manners."""
