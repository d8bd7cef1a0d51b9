"""What an org's month came to: committed, used, above quota, refused, available, and in EUR."""
