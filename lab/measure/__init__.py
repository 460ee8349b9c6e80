"""Plans, samplers, blocks and runs: how latency is measured, and what is kept of it."""
