"""The notifier: tells people, and keeps the vault's word when one of them leaves."""
