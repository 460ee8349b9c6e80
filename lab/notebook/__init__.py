"""The log, the prompt and the evidence: what an investigation leaves for its readers."""
