"""Where the binaries begin: which of the two they are stands behind their launcher."""

from __future__ import annotations

import signal
from pathlib import Path

from standin import launcher


def main(arguments: list[str]) -> int:
    """Run as the program that the executable was built to be."""
    # As any program not written in Python: no traceback on SIGINT, an end.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    executable = Path("/proc/self/exe").readlink()
    description = launcher.read_description(Path("/proc/self/exe"))
    assert description is not None
    if "--version" in arguments:
        print(f"{description['program']} v{description['version']} ({description['commit'][:9]})")
        if description["program"] == "environmentd":
            print("OpenSSL 3.0\nlibrdkafka v2.12")
        return 0
    if description["program"] == "clusterd":
        from standin import clusterd

        return clusterd.main(arguments)
    from standin import environmentd

    return environmentd.main(arguments, executable, description)
