"""jj and git: describing what a session did, and starting the next change."""
