"""VMs that are kept for their own sake: who they are, and what they shall be."""
