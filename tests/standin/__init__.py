"""A stand-in for a Materialize checkout and its environmentd, for tests.

`make_checkout` lays out a directory with a ``bin/environmentd`` that builds and runs binaries
behaving, towards a lab, as the real ones do: process chain, ports, roles, SQL surface, errors,
readiness, metrics, durable state. It keeps no rows and runs no dataflows.

What can be set: the latency law and the rest of the behaviour (`Law`, `Behaviour`; source files of
the checkout, taken in by the next build), and faults (`set_faults`; see `standin.control`).
"""

from standin.behaviour import Behaviour, Law
from standin.checkout import commit, listener_config, make_checkout, set_behaviour, set_version
from standin.control import set_faults
from standin.launcher import missing_packages

__all__ = [
    "Behaviour",
    "Law",
    "commit",
    "listener_config",
    "make_checkout",
    "missing_packages",
    "set_behaviour",
    "set_faults",
    "set_version",
]
