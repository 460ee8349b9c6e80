"""ddl-lab: DDL latency against the number of existing objects, one documented session at a time."""

__version__ = "0.1.0"
