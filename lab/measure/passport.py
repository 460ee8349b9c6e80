"""The passport of a run: what must be alike for it to be compared with another."""

from __future__ import annotations

import platform
from collections.abc import Mapping

from lab.measure.record import Passport
from lab.targets.base import SETTINGS_CHANGED, SHAPES_ONLY, ObjectCounts

UNKNOWN = "unknown"
"""What a fact says that must be alike and cannot be found: then no two runs are alike in it."""

BUILD = "build.id"
BUILD_PROFILE = "build.profile"
BUILD_COMMIT = "build.commit"
BUILD_DIRTY = "build.dirty"
BUILD_VERSION = "build.version"
"""Facts of a target that is compiled: which build, how, and of which tree."""

CLEAN = "no"
"""What `BUILD_DIRTY` says of a tree that held nothing besides its commit."""

MODE = "mode"

# Facts that tell how a measurement came about and change no latency that could be seen. Everything
# else, and every fact that is not known here, must be alike: a difference that matters and is
# overlooked costs a wrong verdict, one that does not costs a measurement.
NOTED = frozenset(
    {
        # Patch releases of the client: only the loop in libpq that waits for the server is timed.
        "client.libpq",
        "client.psycopg",
        "client.python-release",
        # Fixtures are a handful of objects, and follow from the statements asked for.
        "objects.fixtures",
        # Builds are what is compared. How they were compiled must be alike (``build.profile``).
        BUILD,
        BUILD_COMMIT,
        BUILD_DIRTY,
        "build.change",
        BUILD_VERSION,
        # Which settings are other than as shipped: the settings themselves must be alike.
        SETTINGS_CHANGED,
    }
)


def shapes_only(passport: Passport) -> str:
    """Return why the figures of a run show shapes alone (``debug build``); empty if they do not."""
    return passport.alike.get(SHAPES_ONLY, "")


def client_facts() -> dict[str, str]:
    """Return what the client is, under ``client.…`` keys."""
    import psycopg

    major, minor, _ = platform.python_version_tuple()
    libpq = psycopg.pq.version()
    return {
        # Alike: another series of Python, or psycopg without its C part, takes another time around
        # each statement.
        "client.python": f"{major}.{minor}",
        "client.implementation": f"{platform.python_implementation()}, psycopg {_compiled()}",
        "client.python-release": platform.python_version(),
        "client.psycopg": psycopg.__version__,
        "client.libpq": f"{libpq // 10000}.{libpq % 10000}",
    }


def _compiled() -> str:
    import psycopg

    # "binary" and "c" are the same code, compiled by others or by oneself.
    return "in Python" if psycopg.pq.__impl__ == "python" else "in C"


def make_passport(
    *,
    target: str,
    mode: str,
    environment: Mapping[str, str],
    counts: ObjectCounts,
    host: Mapping[str, str],
) -> Passport:
    """Put together the passport of a run.

    Parameters
    ----------
    target:
        The kind of database under study.
    mode:
        How statements are sent, such as ``autocommit``.
    environment:
        What the target says must be alike: version, build, settings, state id.
    counts:
        The exact object counts; latency is studied against them, so each type's must be alike.
    host:
        `lab.measure.host.host_facts`. All must be alike: kernel, file system and hypervisor are
        in the road of every commit, and the two hosts of a pair must be one.

    """
    facts = {
        "target": target,
        MODE: mode,
        **environment,
        **{f"objects.{kind}": str(count) for kind, count in counts.by_type.items()},
        "objects.fixtures": str(counts.fixtures),
        # A source goes on reading while statements are timed.
        **({"objects.upstream": str(counts.upstream)} if counts.upstream else {}),
        **host,
        **client_facts(),
    }
    return Passport(
        alike={key: value for key, value in sorted(facts.items()) if key not in NOTED},
        noted={key: value for key, value in sorted(facts.items()) if key in NOTED},
    )
