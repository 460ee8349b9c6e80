"""The front: Invoke tasks, the console program, and how results are shown."""
