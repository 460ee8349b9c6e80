"""What an upstream was asked by one role in one database, out of its pg_stat_statements."""

from __future__ import annotations

from collections.abc import Iterator

from lab.core.errors import PreconditionError
from lab.servers.connection import Connection
from lab.upstream.shapes import OTHER, SHAPES, in_one_line, shape_of

_MS = 1e6  # the view gives milliseconds

_COUNTS = """
SELECT coalesce(queryid, 0), sum(calls), sum(total_plan_time + total_exec_time), sum(rows)
  FROM pg_stat_statements(false)
 WHERE userid = (SELECT oid FROM pg_roles WHERE rolname = %s)
   AND dbid = (SELECT oid FROM pg_database WHERE datname = %s)
 GROUP BY 1
"""
# Texts lie in a file, which is read whole: only for what was not seen before.
_TEXTS = """
SELECT DISTINCT ON (1) coalesce(queryid, 0), coalesce(query, '') FROM pg_stat_statements(true)
 WHERE coalesce(queryid, 0) = ANY(%s)
   AND userid = (SELECT oid FROM pg_roles WHERE rolname = %s)
   AND dbid = (SELECT oid FROM pg_database WHERE datname = %s)
"""
_INFO = "SELECT dealloc, stats_reset::text FROM pg_stat_statements_info"


class Tally:
    """Calls, time (planning and execution, ns) and rows, added up."""

    def __init__(self, calls: int = 0, ns: float = 0.0, rows: int = 0) -> None:
        self.calls = calls
        self.ns = ns
        self.rows = rows

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.calls + other.calls, self.ns + other.ns, self.rows + other.rows)


class _Statement:
    """A statement: its text, and what was counted of it before its entry was dropped and since."""

    def __init__(self, text: str, first_calls: int) -> None:
        self.text = in_one_line(text)
        self.shape = shape_of(text)
        self.first_calls = first_calls
        self.before = Tally()
        self.now = Tally()

    @property
    def total(self) -> Tally:
        return self.before + self.now

    @property
    def asked(self) -> bool:
        """Whether it was asked since it is watched."""
        return self.total.calls > self.first_calls


class Statements:
    """Follows the counters of ``role`` in ``database`` over ``connection``.

    The server keeps a limited number of entries and drops those that are used least, such as the
    copy of one table, which is asked for once. What an entry had counted is kept here then, so that
    no sum falls because of it; after a reset of the counters, it falls.

    Raises PreconditionError (``upstream.unfit``) where there is no pg_stat_statements.
    """

    def __init__(self, connection: Connection, role: str, database: str) -> None:
        self.dropped = 0
        """How many entries the server dropped altogether; ``pg_stat_statements_info.dealloc``."""
        self.reset_at = ""
        """When the counters were last reset."""
        self._connection = connection
        self._whose = (role, database)
        self._known: dict[int, _Statement] = {}
        self._began = False
        self.read()
        self._began = True

    def read(self) -> None:
        """Take in what was counted since."""
        import psycopg

        try:
            info = self._connection.execute(_INFO).fetchone()
            rows = self._connection.execute(_COUNTS, self._whose).fetchall()
        except (
            psycopg.errors.UndefinedTable,
            psycopg.errors.UndefinedFunction,
            psycopg.errors.ObjectNotInPrerequisiteState,
        ) as error:
            raise _no_statements(error) from error
        assert info is not None
        kept = info[0] > self.dropped and info[1] == self.reset_at
        self.dropped, self.reset_at = info
        counted = {
            int(queryid): Tally(int(calls), float(ms) * _MS, int(rows_))
            for queryid, calls, ms, rows_ in rows
        }
        self._meet(counted)
        for queryid, statement in self._known.items():
            now = counted.get(queryid, Tally())
            if kept and now.calls < statement.now.calls:
                statement.before += statement.now
            statement.now = now

    def by_shape(self) -> dict[str, Tally]:
        """Return what was asked of each of `SHAPES`, since the counters were last reset."""
        sums = {shape: Tally() for shape in SHAPES}
        for statement in self._known.values():
            sums[statement.shape] += statement.total
        return sums

    def asked(self) -> Iterator[tuple[str, str]]:
        """Yield shape and text of each statement that was asked since it is watched."""
        for statement in self._known.values():
            if statement.asked:
                yield statement.shape, statement.text

    def calls_without(self, word: str) -> int:
        """Return how many statements were asked whose texts do not contain ``word``."""
        return sum(each.total.calls for each in self._known.values() if word not in each.text)

    def unknown(self) -> tuple[str, ...]:
        """Return the texts of those that were asked and are of no known shape."""
        return tuple(sorted({text for shape, text in self.asked() if shape == OTHER}))

    def _meet(self, counted: dict[int, Tally]) -> None:
        new = [queryid for queryid in counted if queryid not in self._known]
        if not new:
            return
        texts: dict[int, str] = dict(
            self._connection.execute(_TEXTS, (new, *self._whose)).fetchall()
        )
        for queryid in new:
            first = 0 if self._began else counted[queryid].calls
            self._known[queryid] = _Statement(texts.get(queryid, ""), first)


def _no_statements(error: Exception) -> PreconditionError:
    return PreconditionError(
        "The upstream does not tell what it is asked.",
        code="upstream.unfit",
        why=str(error).strip().splitlines()[0],
        remedy="Its shared_preload_libraries has to name pg_stat_statements; `upstream.up` makes"
        " the extension where the upstream is the lab's.",
    )
