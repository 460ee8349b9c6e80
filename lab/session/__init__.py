"""The session protocol: one step of an investigation, journaled so that it survives a crash."""
