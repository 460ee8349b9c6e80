"""What every layer stands on: configuration, results, errors, locks, files, processes, progress."""
