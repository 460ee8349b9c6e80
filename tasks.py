"""The Invoke namespace of ddl-lab."""

from lab.cli.namespace import namespace

__all__ = ["namespace"]
