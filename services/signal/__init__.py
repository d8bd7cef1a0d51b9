"""The signal worker: the way in for requests, and the eye on measurements."""
