"""The steward: chooses the window in which a VM is worked on, so that nobody is surprised and nothing is half done."""
