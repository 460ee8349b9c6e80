"""Record session S with all its steps, as a process of its own that the tests can kill."""

from __future__ import annotations

import sys
from pathlib import Path

from lab.vcs.detect import open_repository


def record(root: Path, *, separate_log: bool) -> None:
    """Take the steps of ``session.finish`` in their order."""
    repository = open_repository(root, enclosing=False)
    assert repository is not None
    log = [root / "log.md", root / "evidence.ignored"]
    prompt = [root / "prompt.md"]
    apart = prompt + (log if separate_log else [])
    repository.operation()
    repository.describe("S", "work", paths=[] if separate_log else log, apart=apart)
    repository.start_new("S")
    if separate_log:
        repository.separate("S", "log", "the log", paths=log)
    repository.separate("S", "prompt", "the prompt", paths=prompt)
    repository.operation()


if __name__ == "__main__":
    record(Path(sys.argv[1]), separate_log=sys.argv[2] == "separate")
