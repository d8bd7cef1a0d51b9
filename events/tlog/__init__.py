"""The audit log as others read it: RFC 6962 tree, C2SP tiles, checkpoints, proofs and cosignatures."""
