"""One client's session: its settings, its transaction, its statements one after the other."""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from standin import lexer, plans, sourcing, variables
from standin.catalog import Catalog
from standin.engine import Engine, kind_of
from standin.errors import SqlError
from standin.relations import Column, Rows
from standin.statements import Statement, displayed, parse

IDLE, OPEN, FAILED = "I", "T", "E"
_CLUSTERS = {"mz_system": "mz_system", "mz_support": "mz_catalog_server"}
_MODIFYING = "transactions which modify objects are restricted to just modifying objects"
_SINGLE = "this transaction can only execute a single statement"
_TEXT = 25
_numbers = itertools.count(1)


@dataclass
class Answer:
    """What a statement answers: a tag, maybe rows, notices as ``(severity, text)``."""

    tag: str
    rows: Rows | None = None
    notices: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Transaction:
    """An open transaction: nothing yet, queries, one deferred statement, or DDL in a row."""

    kind: str = ""
    deferred: Statement | None = None
    catalog: Catalog | None = None
    revision: int = 0
    plans: list[tuple[str, plans.Plan]] = field(default_factory=list)


class Session:
    """A session of ``user``."""

    def __init__(self, engine: Engine, user: str, settings: dict[str, str]) -> None:
        self.number = next(_numbers)
        self.user = user
        self.status = IDLE
        self.interrupted = threading.Event()
        self._engine = engine
        self._transaction = Transaction()
        self.defaults = variables.SESSION | {
            "mz_version": engine.build.shown,
            "cluster": _CLUSTERS.get(user, "quickstart"),
            "is_superuser": "on" if user == "mz_system" else "off",
        }
        self.defaults |= settings
        self.settings = dict(self.defaults)

    def run(self, sql: str, answer: Callable[[Answer], None]) -> None:
        """Run a string of statements, handing over each answer.

        Raises
        ------
        SqlError
            One failed, and the rest was not tried.

        """
        self.interrupted.clear()
        try:
            statements = [parse(text, tokens) for text, tokens in lexer.split(sql)]
            for statement in statements:
                several = len(statements) > 1 and self.status == IDLE
                answer(self.run_one(statement, (), several=several))
        except SqlError:
            if self.status == OPEN:
                self.status = FAILED
            raise

    def run_one(
        self, statement: Statement, parameters: tuple[str | None, ...], *, several: bool = False
    ) -> Answer:
        """Run one statement; ``several`` says that it is one of a string of them."""
        session_type = "system" if self.user.startswith("mz_") else "user"
        self._engine.costs.query(_statement_type(statement), session_type)
        if statement.verb in {"commit", "end", "rollback", "abort"}:
            return self._end(commit=statement.verb in {"commit", "end"})
        if self.status == FAILED:
            raise SqlError(
                "current transaction is aborted, commands ignored until end of transaction block",
                "25P02",
            )
        if statement.verb in {"begin", "start"}:
            return self._begin()
        if statement.is_ddl:
            return self._ddl(statement, several=several)
        if statement.verb in {"set", "reset", "discard"}:
            return self._set(statement)
        if statement.verb == "show":
            return _rows(self._show(statement))
        if statement.verb == "validate":
            sourcing.validate(self, statement)
            return Answer("VALIDATE CONNECTION")
        return self._select(statement, parameters)

    def close(self) -> None:
        """Drop what is temporary."""
        schema = f"{plans.TEMPORARY}{self.number}"
        items = list(self._engine.catalog.items.items())
        gone = [("item", item, None) for item, value in items if value["schema"] == schema]
        if gone:
            self._engine.apply(gone)

    @property
    def context(self) -> plans.Context:
        """In whose name statements are planned."""
        engine = self._engine
        return plans.Context(self.user, self.number, self.settings, engine.sizes, engine.variables)

    @property
    def catalog(self) -> Catalog:
        """The catalog as this session sees it."""
        return self._transaction.catalog or self._engine.catalog

    def _begin(self) -> Answer:
        if self.status == OPEN:
            return Answer(
                "BEGIN", notices=[("WARNING", "there is already a transaction in progress")]
            )
        self.status, self._transaction = OPEN, Transaction()
        return Answer("BEGIN")

    def _end(self, *, commit: bool) -> Answer:
        if self.status == IDLE:
            tag = "COMMIT" if commit else "ROLLBACK"
            return Answer(tag, notices=[("WARNING", "there is no transaction in progress")])
        failed = self.status == FAILED
        transaction, self._transaction, self.status = self._transaction, Transaction(), IDLE
        if failed or not commit:
            return Answer("ROLLBACK")
        notices: list[str] = []
        if transaction.deferred is not None:
            notices = self._carry_out(transaction.deferred, at_commit=True)
        elif transaction.plans:
            self._engine.commit(transaction.plans, transaction.revision)
        return Answer("COMMIT", notices=_notices(notices))

    def _ddl(self, statement: Statement, *, several: bool) -> Answer:
        if several and not statement.joins_transactions:
            shown = displayed(statement)
            raise SqlError(f"{shown} cannot be run inside a transaction block", "25001")
        if self.status == IDLE:
            return Answer(statement.tag, notices=_notices(self._carry_out(statement)))
        transaction = self._transaction
        if transaction.kind == "select":
            raise SqlError(
                "transaction in read-only mode",
                "25006",
                "SELECT queries cannot be combined with other query types, including SUBSCRIBE.",
            )
        self._refuse_after_ddl(joins=statement.joins_transactions)
        if not statement.joins_transactions:
            transaction.kind, transaction.deferred = "single", statement
            return Answer(statement.tag)
        if transaction.catalog is None:
            transaction.kind = "ddl"
            transaction.revision = self._engine.catalog.revision
            transaction.catalog = self._engine.catalog.copy()
        statement = sourcing.purify(self, statement)
        plan = self._engine.dry_run(
            statement,
            transaction.catalog,
            transaction.revision,
            self.context,
            position=len(transaction.plans),
        )
        transaction.plans.append((kind_of(statement), plan))
        return Answer(statement.tag, notices=_notices(plan.notices))

    def _carry_out(self, statement: Statement, *, at_commit: bool = False) -> list[str]:
        purified = sourcing.purify(self, statement)
        return self._engine.ddl(purified, self.context, at_commit=at_commit)

    def _refuse_after_ddl(self, *, joins: bool) -> None:
        if self._transaction.kind == "single":
            raise SqlError(_SINGLE, "25000")
        if self._transaction.kind == "ddl" and not joins:
            raise SqlError(_MODIFYING, "25000")

    def _select(self, statement: Statement, parameters: tuple[str | None, ...]) -> Answer:
        if self.status == OPEN:
            self._refuse_after_ddl(joins=False)
            self._transaction.kind = "select"
        sql = statement.sql
        if statement.verb == "table":
            sql = f"SELECT * FROM {sql[5:]}"
        if statement.relations:
            timeout = variables.milliseconds(self.settings["statement_timeout"]) / 1000
            self._engine.wait_for_catalog_cluster(self.interrupted, timeout)
        if any(name[-1] == "mz_source_statuses" for name in statement.relations):
            fault = self._engine.control.get("source_error") or ""
            engine = self._engine
            errors = sourcing.stalled(engine.replication, engine.catalog, fault)
            engine.relations.set_source_errors(errors)
        functions = {
            "current_user": lambda: self.user,
            "pg_current_database": lambda: self.settings["database"],
            "pg_backend_pid": lambda: self.number,
        }
        return _rows(self._engine.relations.query(sql, parameters, functions))

    def _set(self, statement: Statement) -> Answer:
        words = [
            token for token in statement.tokens if token.text.lower() not in {"session", "local"}
        ]
        tag = statement.verb.upper()
        if statement.verb == "discard" or [t.value for t in words[1:]] == ["all"]:
            self.settings = dict(self.defaults)
            return Answer("DISCARD ALL" if statement.verb == "discard" else tag)
        name = words[1].value
        if name == "transaction":
            return Answer(tag)
        if name in {"schema", "names", "time"}:
            name = {"schema": "search_path", "names": "client_encoding", "time": "timezone"}[name]
        if statement.verb == "reset":
            variables.session_value(name, self.defaults.get(name, ""))
            self.settings[name] = self.defaults[name]
            return Answer(tag)
        values = [t.value for t in words[2:] if t.text.lower() not in {"=", "to", "zone"}]
        value = "".join(values).replace(",", ", ")
        if value.lower() == "default":
            value = self.defaults.get(name, "")
        self.settings[name] = variables.session_value(name, value)
        notices = []
        if name in {"database", "cluster"} and not self._engine.catalog.named(name, value):
            notices.append(("NOTICE", f'{name} "{value}" does not exist'))
        return Answer(tag, notices=notices)

    def _show(self, statement: Statement) -> Rows:
        words = [token.value for token in statement.tokens[1:]]
        name = "_".join(words)
        listing = _LISTINGS.get(" ".join(words[:2])) or _LISTINGS.get(words[0])
        if listing and len(words) <= 2:
            self._engine.wait_for_catalog_cluster(self.interrupted, 60.0)
            return self._engine.relations.query(listing)
        name = {
            "time_zone": "timezone",
            "transaction_isolation_level": "transaction_isolation",
        }.get(name, name)
        if name == "all":
            values = [
                (n, self._variable(n), "") for n in sorted({**variables.SYSTEM, **self.settings})
            ]
            names = ("name", "setting", "description")
            return Rows(tuple(Column(n, _TEXT) for n in names), values)
        return Rows((Column(name, _TEXT),), [(self._variable(name),)])

    def _variable(self, name: str) -> str:
        if name in self.settings:
            return self.settings[name]
        with contextlib.suppress(KeyError):
            return self._engine.variables.get(name)
        raise variables.unknown(name)


_OF_PUBLIC = "schema_id = (SELECT id FROM mz_schemas WHERE name = 'public') AND id LIKE 'u%'"
_LISTINGS = {
    "databases": "SELECT name, '' AS comment FROM mz_databases ORDER BY name",
    "schemas": "SELECT name, '' AS comment FROM mz_schemas WHERE database_id IS NULL "
    "OR database_id = 'u1' ORDER BY name",
    "clusters": "SELECT c.name AS name, "
    "(SELECT group_concat(r.name || ' (' || r.size || ')', ', ') "
    "FROM mz_cluster_replicas r WHERE r.cluster_id = c.id) AS replicas, '' AS comment "
    "FROM mz_clusters c ORDER BY c.name",
    **{
        name.replace("_", " "): f"SELECT name, '' AS comment FROM mz_{name} "
        f"WHERE {_OF_PUBLIC} ORDER BY name"
        for name in ("tables", "views", "materialized_views", "sources", "secrets", "connections")
    },
}


def _rows(rows: Rows) -> Answer:
    return Answer(f"SELECT {len(rows.rows)}", rows)


def _notices(texts: list[str]) -> list[tuple[str, str]]:
    return [("NOTICE", text) for text in texts]


def _statement_type(statement: Statement) -> str:
    verb = {"rename": "alter_object_rename", "alter system": "alter_system_set"}.get(
        statement.verb, statement.verb
    )
    if statement.verb == "create":
        verb = f"create_{statement.kind}"
        if "from source" in statement.flags:
            verb = "create_table_from_source"
    elif statement.verb == "drop":
        verb = "drop_objects"
    return re.sub(r"\W+", "_", verb)
