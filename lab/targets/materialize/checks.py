"""The proof that an environment can be measured, check by check."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping

import psycopg

from lab.core.errors import LabError
from lab.core.results import Check
from lab.servers.connection import Connection
from lab.servers.ports import LOOPBACK
from lab.targets import leftovers
from lab.targets.base import ObjectCounts
from lab.targets.materialize import http, metrics, objects, sql
from lab.targets.materialize.readiness import READY
from lab.targets.materialize.runs import Found, Runs, fits, named
from lab.targets.materialize.state_checks import in_full
from lab.targets.parts import Variables
from lab.targets.statements import FIXTURES

_HTTP_S = 120.0
_ROLES = (sql.USER, sql.SYSTEM, sql.SUPPORT)
_CONSISTENCY = (("catalog", "/api/catalog/check"), ("coordinator", "/api/coordinator/check"))
_SHOWN = 5
# What a limit is on, and how many of them are made as fixtures.
_LIMITS = {
    "max_tables": ("table", len(FIXTURES)),
    "max_materialized_views": ("materialized-view", 0),
}
_KEPT = "SELECT count(*) FROM mz_objects WHERE id LIKE 's%' AND type = 'connection'"


def verify(
    server: Runs, variables: Variables | None, expected_objects: int | None
) -> tuple[Check, ...]:
    """Return all checks; only those up to the first that keeps the others from being made."""
    found = server.inspect()
    ready = readiness(server)
    if not ready.passed:
        return (ready,)
    return (
        ready,
        owner(found, server.declared),
        *(role(server, each) for each in _ROLES),
        *counted(server, expected_objects),
        *(consistent(server, name, path) for name, path in _CONSISTENCY),
        *_variables(variables),
        build(server, found),
        self_checks(found),
        *server.own_checks(found),
    )


def readiness(server: Runs) -> Check:
    """Check that environmentd says of itself that it is ready."""
    try:
        answer = http.call(server.ports.internal_http, READY, timeout_s=10)
        found = f"{answer.status} {answer.text}"[:80]
        passed = answer.status == 200
    except LabError as error:
        found, passed = in_full(error), False
    return Check(
        name="ready",
        passed=passed,
        found=found,
        expected="200 ready",
        remedy="`env.start` starts it, or waits until it is ready.",
    )


def owner(found: Found, declared: str) -> Check:
    """Check that what runs was started by the lab, or was adopted as the right build."""
    passed = found.ours or fits(found.build, declared)
    says = "yes" if found.ours else "no, adopted" if passed else "no, by somebody else"
    return Check(
        name="started by the lab",
        passed=passed,
        found=says,
        expected="yes, or the declared build",
        remedy="Stop it the way it was started, then `env.start`.",
    )


def role(server: Runs, name: str) -> Check:
    """Check that ``SELECT 1`` answers for the role ``name`` on its port."""
    try:
        with contextlib.closing(sql.connect(server.ports, "env.verify", role=name)) as connection:
            connection.execute("SELECT 1")
        found, passed = "answers", True
    except (LabError, psycopg.Error) as error:
        found, passed = in_full(error), False
    port = server.ports.sql if name == sql.USER else server.ports.internal_sql
    return Check(
        name=f"SELECT 1 as {name} on {port}",
        passed=passed,
        found=found,
        expected="answers",
        remedy="`env.logs` shows what environmentd says.",
    )


def counted(server: Runs, expected: int | None) -> Iterator[Check]:
    """Count user objects, and cross-check the count with environmentd's own gauge."""
    try:
        with contextlib.closing(sql.connect(server.ports, "env.verify")) as connection:
            counts = objects.count(connection)
            kept = _kept_by_the_system(connection)
            limits = {name: _limit(connection, name) for name in _LIMITS}
    except (LabError, psycopg.Error) as error:
        yield Check(
            name="user objects",
            passed=False,
            found=f"cannot be counted: {in_full(error)}",
            expected="countable",
            remedy="The count runs on the catalog cluster: `env.logs` shows whether it is up.",
        )
        return
    yield Check(
        name="user objects",
        passed=expected is None or counts.total == expected,
        found=_by_type(counts),
        expected="any number" if expected is None else f"exactly {expected:,}",
        remedy=f"Bring about the count with `lab.seed --count {expected}`.",
    )
    yield _gauge(server, counts.total + counts.fixtures + counts.upstream + kept)
    yield _room(limits, counts)
    yield leftovers.left_over(counts)


def _limit(connection: Connection, name: str) -> int:
    row = connection.execute(f"SHOW {name}".encode()).fetchone()
    return int(row[0]) if row else 0


def _room(limits: Mapping[str, int], counts: ObjectCounts) -> Check:
    """Check that the limits leave room for fixtures, and for an object beside them.

    Nearly all that reads an upstream are tables: all of it is taken as such.
    """
    by_type = {**counts.by_type, "table": counts.by_type.get("table", 0) + counts.upstream}
    needed = {name: by_type.get(kind, 0) + more + 1 for name, (kind, more) in _LIMITS.items()}
    short = [name for name, limit in limits.items() if limit < needed[name]]
    found = [f"{name} is {limit:,}" for name, limit in limits.items() if name in (short or limits)]
    raised = " ".join(f"{name}={-(-needed[name] // 1000) * 1000}" for name in short)
    return Check(
        name="room for what is measured",
        passed=not short,
        found=", ".join(found),
        expected=", ".join(f"at least {needed[name]:,}" for name in short or limits),
        remedy=f"`env.set {raised}` makes room.",
    )


def _kept_by_the_system(connection: Connection) -> int:
    """Count the system's own objects that the catalog keeps as it keeps those of users.

    Seen with v26.24: they are its connections (one); all others come with the binary.
    """
    row = connection.execute(_KEPT).fetchone()
    return int(row[0]) if row else 0


def _gauge(server: Runs, total: int) -> Check:
    remedy = "Something makes or drops objects at this moment: see what else is connected."
    try:
        gauge = _items(server)
        found = "the gauge is missing" if gauge is None else f"{gauge:,}"
        passed = gauge is None or gauge == total
    except LabError as error:
        found, passed, remedy = in_full(error), False, error.remedy
    return Check(
        name="items by the gauge",
        passed=passed,
        found=found,
        expected=f"{total:,}, as counted (the lab's own and the system's connections included)",
        remedy=remedy,
    )


def _items(server: Runs) -> int | None:
    """Read environmentd's own gauge of user items; None where it has none."""
    url = f"http://{LOOPBACK}:{server.ports.internal_http}/metrics"
    reading = metrics.browse(url, server.boot(), "mz_catalog_collection_entries")
    for series in reading.series:
        if 'collection="item"' in series.name:
            return round(series.value)
    return None


def consistent(server: Runs, name: str, path: str) -> Check:
    """Ask environmentd to check itself: it answers 200 even where it finds a fault."""
    try:
        answer = http.call(server.ports.internal_http, path, timeout_s=_HTTP_S)
        fault = _fault(answer.status, answer.body)
    except LabError as error:
        fault = in_full(error)
    return Check(
        name=f"{name} consistent",
        passed=not fault,
        found=fault or "no fault",
        expected="no fault",
        remedy="The state may be damaged: keep a copy, and look at what `env.logs` shows.",
    )


def _fault(status: int, body: bytes) -> str:
    """Return the fault that an answer tells of: healthy is the JSON string ``""``."""
    text = body.decode(errors="replace").strip()
    try:
        said = json.loads(text)
    except ValueError:
        return f"HTTP status {status}: {text[:200]}"
    if status == 200 and said == "":
        return ""
    if isinstance(said, dict) and "err" in said:
        return str(said["err"])[:300]
    return text[:300]


def _variables(variables: Variables | None) -> Iterator[Check]:
    """Compare the system variables with those that are declared or were set."""
    expected = variables.expected() if variables else {}
    if variables is None or not expected:
        return
    try:
        now = {each.name: each.value for each in variables.read(list(expected))}
    except (LabError, psycopg.Error) as error:
        remedy = error.remedy if isinstance(error, LabError) else "`env.logs` shows more."
        yield Check(name="system variables", passed=False, found=in_full(error), remedy=remedy)
        return
    unlike = [
        f"{name} = {now.get(name, 'unset')}, not {value}"
        for name, value in expected.items()
        if now.get(name) != value
    ]
    yield Check(
        name="system variables",
        passed=not unlike,
        found="; ".join(unlike[:_SHOWN]) or f"{len(now)} as declared or set",
        expected="as declared or set",
        remedy="`lab.up` sets what lab.toml declares, `env.set` any other.",
    )


def build(server: Runs, found: Found) -> Check:
    """Check that the server's own version is that of the files which run."""
    try:
        with contextlib.closing(sql.connect(server.ports, "env.verify")) as connection:
            says = _version(connection)
    except (LabError, psycopg.Error) as error:
        says = f"nothing: {in_full(error)}"
    known = found.build.version if found.build else ""
    core = re.search(r"v?\d[\w.+-]*", known)
    agrees = core[0].removeprefix("v") in says if core else not says.startswith("nothing")
    return Check(
        name="build",
        passed=found.build is not None and agrees,
        found=f"{named(found.build)}; the server says {says}",
        expected="a build that is known, and says the same",
        remedy="Its files were replaced or cannot be read: `env.stop`, then `env.start`.",
    )


def _version(connection: Connection) -> str:
    row = connection.execute("SELECT mz_version()").fetchone()
    return str(row[0]) if row else ""


def self_checks(found: Found) -> Check:
    """Check that nothing is measured on a server whose self-checks were switched off to seed."""
    off = found.asked_checks is False
    return Check(
        name="self-checks",
        passed=not off,
        found="switched off" if off else "as the build has them",
        expected="as the build has them",
        remedy="They were switched off to seed: `lab.up` starts it as declared.",
    )


def _by_type(counts: ObjectCounts) -> str:
    types = ", ".join(f"{number:,} {kind}" for kind, number in sorted(counts.by_type.items()))
    return f"{counts.total:,}{f' ({types})' if types else ''}"
