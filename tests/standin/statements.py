"""Statements, read from tokens: DDL into structures, the rest by its first word."""

from __future__ import annotations

import dataclasses
from typing import Any

from standin.errors import SqlError
from standin.lexer import Token

TYPES = {
    "int": "int4",
    "integer": "int4",
    "int4": "int4",
    "bigint": "int8",
    "int8": "int8",
    "smallint": "int2",
    "int2": "int2",
    "text": "text",
    "varchar": "varchar",
    "bool": "bool",
    "boolean": "bool",
    "float8": "float8",
    "real": "float4",
    "numeric": "numeric",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
    "date": "date",
    "jsonb": "jsonb",
    "uuid": "uuid",
    "bytea": "bytea",
}
OBJECTS = (
    "materialized view",
    "table",
    "view",
    "index",
    "schema",
    "database",
    "role",
    "cluster",
    "secret",
    "connection",
    "source",
)
PLAIN = ("select", "with", "values", "table", "show", "set", "reset", "begin", "start", "commit")
PLAIN += ("rollback", "abort", "end", "discard", "validate")


@dataclasses.dataclass(frozen=True)
class Statement:
    """A statement.

    ``verb`` is ``create``, ``drop``, ``rename``, ``alter system``, ``comment``, ``grant`` or a
    word of `PLAIN`; ``kind`` the type of object. ``relations`` are the names that a query or a
    reference in it names; ``columns`` are ``(name, type)``.
    """

    sql: str
    tokens: tuple[Token, ...]
    verb: str
    kind: str = ""
    name: tuple[str, ...] = ()
    new_name: str = ""
    names: tuple[tuple[str, ...], ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    relations: tuple[tuple[str, ...], ...] = ()
    flags: frozenset[str] = frozenset()
    value: str = ""
    reference: tuple[str, ...] = ()
    published: tuple[list[Any], ...] = ()

    @property
    def is_ddl(self) -> bool:
        verbs = {"create", "drop", "rename", "alter system", "comment", "grant", "refresh"}
        return self.verb in verbs

    @property
    def joins_transactions(self) -> bool:
        """Whether several of the kind may be in one transaction."""
        from_source = self.kind == "table" and "from source" in self.flags
        return self.verb == "rename" or (
            self.verb == "create" and (self.kind == "source" or from_source)
        )

    @property
    def tag(self) -> str:
        """The command tag."""
        if self.verb in {"create", "drop"}:
            return f"{self.verb} {self.kind}".upper()
        if self.verb in {"rename", "refresh"}:
            return f"ALTER {self.kind}".upper()
        return self.verb.upper()


class Reader:
    """Reads tokens from left to right."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0

    @property
    def next(self) -> Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def accept(self, *words: str) -> bool:
        """Step over these words where they come next, all of them."""
        ahead = self.tokens[self.at : self.at + len(words)]
        texts = [token.text.lower() for token in ahead if token.kind in {"word", "operator"}]
        if texts != list(words):
            return False
        self.at += len(words)
        return True

    def one_of(self, choices: tuple[str, ...]) -> str:
        """Step over one of several phrases and return it, or nothing."""
        return next((choice for choice in choices if self.accept(*choice.split())), "")

    def identifier(self) -> str:
        token = self.next
        if token is None or token.kind not in {"word", "quoted"}:
            raise SqlError(f"Expected identifier, found {_shown(token)}", "42601")
        self.at += 1
        return token.value

    def name(self) -> tuple[str, ...]:
        parts = [self.identifier()]
        while self.accept("."):
            parts.append(self.identifier())
        return tuple(parts)

    def value(self) -> str:
        token = self.next
        if token is None:
            raise SqlError("Expected literal value, found EOF", "42601")
        self.at += 1
        return token.value

    def expect(self, word: str) -> None:
        if not self.accept(*word.split()):
            raise SqlError(f"Expected {word.upper()}, found {_shown(self.next)}", "42601")


def parse(sql: str, tokens: list[Token]) -> Statement:
    """Read one statement.

    Raises
    ------
    SqlError
        42601.

    """
    reader = Reader(tokens)
    base = Statement(sql, tuple(tokens), "")
    first = tokens[0]
    if reader.accept("create"):
        return _create(reader, base)
    if reader.accept("drop"):
        return _drop(reader, base)
    if reader.accept("alter"):
        return _alter(reader, base)
    if reader.accept("prepare"):
        name = reader.identifier()
        raise SqlError("unpreparable statement" if name else "", "42601")
    if first.text.lower() in {"comment", "grant", "revoke"}:
        verb = "comment" if first.value == "comment" else "grant"
        return dataclasses.replace(base, verb=verb)
    if first.kind == "word" and first.value in PLAIN:
        return dataclasses.replace(base, verb=first.value, relations=tuple(_relations(tokens)))
    kind = {"word": "identifier", "operator": "operator"}.get(first.kind, first.kind)
    shown = f'"{first.value}"' if kind == "identifier" else first.text
    raise SqlError(
        f"Expected a keyword at the beginning of a statement, found {kind} {shown}", "42601"
    )


def _create(reader: Reader, base: Statement) -> Statement:
    flags = {"or replace"} if reader.accept("or", "replace") else set()
    if reader.one_of(("temporary", "temp")):
        flags.add("temporary")
    if reader.accept("default", "index"):
        flags.add("default")
        kind = "index"
    else:
        kind = reader.one_of(OBJECTS)
    if not kind:
        raise SqlError(f"Expected an object type, found {_shown(reader.next)}", "42601")
    if reader.accept("if", "not", "exists"):
        flags.add("if not exists")
    made = dataclasses.replace(base, verb="create", kind=kind, flags=frozenset(flags))
    if kind == "index":
        return _create_index(reader, made)
    made = dataclasses.replace(made, name=reader.name())
    if kind == "table":
        return _create_table(reader, made)
    if kind in {"view", "materialized view"}:
        return _create_view(reader, made)
    if kind == "source":
        return _create_source(reader, made)
    if kind == "cluster":
        return dataclasses.replace(made, value=_option(reader, "size"))
    return made


def _create_table(reader: Reader, made: Statement) -> Statement:
    if reader.accept("from", "source"):
        source = reader.name()
        reader.expect("(")
        reader.expect("reference")
        flags = made.flags | {"from source"}
        reference = reader.name()
        return dataclasses.replace(made, flags=flags, relations=(source,), reference=reference)
    reader.expect("(")
    columns = []
    while not reader.accept(")"):
        name = reader.identifier()
        columns.append((name, TYPES.get(kind := reader.identifier(), f"?{kind}")))
        depth = 0
        while reader.next and (depth or reader.next.text not in {",", ")"}):
            depth += {"(": 1, ")": -1}.get(reader.next.text, 0)
            reader.at += 1
        reader.accept(",")
        if reader.next is None:
            raise SqlError("Expected a column name or right parenthesis, found EOF", "42601")
    return dataclasses.replace(made, columns=tuple(columns))


def _create_view(reader: Reader, made: Statement) -> Statement:
    cluster = ()
    if reader.accept("in", "cluster"):
        cluster = (reader.identifier(),)
    if reader.accept("("):
        while not reader.accept(")"):
            reader.value()
    reader.expect("as")
    rest = reader.tokens[reader.at :]
    if not rest:
        raise SqlError(
            "Expected SELECT, VALUES, or a subquery in the query body, found EOF", "42601"
        )
    query = made.sql[rest[0].start - made.tokens[0].start :]
    relations = tuple(_relations(rest))
    return dataclasses.replace(
        made, relations=relations, value=query, new_name=cluster[0] if cluster else ""
    )


def _create_index(reader: Reader, made: Statement) -> Statement:
    name: tuple[str, ...] = ()
    cluster = ""
    if "default" not in made.flags and not reader.accept("in", "cluster"):
        if reader.next is not None and reader.next.value != "on":
            name = (reader.identifier(),)
    elif reader.tokens[reader.at - 1].value == "cluster":
        cluster = reader.identifier()
    if reader.accept("in", "cluster"):
        cluster = reader.identifier()
    reader.expect("on")
    on = reader.name()
    columns = []
    if reader.accept("("):
        while not reader.accept(")"):
            columns.append((reader.value(), ""))
            reader.accept(",")
    return dataclasses.replace(
        made, name=name, relations=(on,), columns=tuple(columns), new_name=cluster
    )


def _create_source(reader: Reader, made: Statement) -> Statement:
    cluster = ""
    if reader.accept("in", "cluster"):
        cluster = reader.identifier()
    reader.expect("from")
    reader.expect("postgres connection")
    connection = reader.name()
    publication = _option(reader, "publication")
    flags = set(made.flags)
    if reader.accept("for"):
        flags.add("subsources")
    return dataclasses.replace(
        made,
        relations=(connection,),
        value=publication,
        new_name=cluster,
        flags=frozenset(flags),
    )


def _option(reader: Reader, wanted: str) -> str:
    reader.expect("(")
    found = ""
    while not reader.accept(")"):
        key = reader.value().lower()
        if key == wanted:
            reader.accept("=")
            found = reader.value()
    return found


def _drop(reader: Reader, base: Statement) -> Statement:
    kind = reader.one_of(OBJECTS)
    if not kind:
        raise SqlError(f"Expected an object type, found {_shown(reader.next)}", "42601")
    flags = {"if exists"} if reader.accept("if", "exists") else set()
    names = [reader.name()]
    while reader.accept(","):
        names.append(reader.name())
    if reader.accept("cascade"):
        flags.add("cascade")
    return dataclasses.replace(
        base, verb="drop", kind=kind, name=names[0], names=tuple(names), flags=frozenset(flags)
    )


def _alter(reader: Reader, base: Statement) -> Statement:
    if reader.accept("system"):
        verb = dataclasses.replace(base, verb="alter system")
        if reader.accept("set"):
            name = (reader.identifier(),)
            if not reader.accept("="):
                reader.expect("to")
            return dataclasses.replace(verb, kind="set", name=name, value=reader.value())
        reader.expect("reset")
        if reader.accept("all"):
            return dataclasses.replace(verb, kind="reset all")
        return dataclasses.replace(verb, kind="reset", name=(reader.identifier(),))
    kind = reader.one_of(OBJECTS)
    if not kind:
        raise SqlError(f"Expected an object type, found {_shown(reader.next)}", "42601")
    flags = {"if exists"} if reader.accept("if", "exists") else set()
    name = reader.name()
    if kind == "table" and reader.accept("add", "column"):
        raise SqlError(
            "Enable ALTER TABLE ... ADD COLUMN ... is not available",
            detail="The requested feature (enable_alter_table_add_column) is in private preview.",
            hint="Contact support to discuss enabling the feature in your Materialize region.",
        )
    if kind == "source" and reader.accept("refresh", "references"):
        return dataclasses.replace(base, verb="refresh", kind=kind, name=name, relations=(name,))
    reader.expect("rename to")
    return dataclasses.replace(
        base,
        verb="rename",
        kind=kind,
        name=name,
        new_name=reader.identifier(),
        flags=frozenset(flags),
    )


def _relations(tokens: list[Token]) -> list[tuple[str, ...]]:
    """Return what stands after FROM and JOIN, commas included; subqueries too."""
    found = []
    reader = Reader(list(tokens))
    while reader.next is not None:
        if reader.next.kind != "word" or reader.next.value not in {"from", "join"}:
            reader.at += 1
            continue
        reader.at += 1
        while reader.next is not None and reader.next.kind in {"word", "quoted"}:
            name = reader.name()
            if not reader.accept("("):
                found.append(name)
            reader.accept("as")
            if reader.next is not None and reader.next.kind in {"word", "quoted"}:
                if reader.next.value in {"from", "join", "where", "left", "on", "group", "order"}:
                    break
                reader.at += 1
            if not reader.accept(","):
                break
    return found


def _shown(token: Token | None) -> str:
    if token is None:
        return "EOF"
    kind = {"word": "identifier", "quoted": "identifier"}.get(token.kind, token.kind)
    shown = f'"{token.value}"' if kind == "identifier" else token.text
    return f"{kind} {shown}"


def displayed(statement: Statement) -> str:
    """Return the statement as errors show it: keywords large, types by their own names."""
    if statement.verb == "create" and statement.kind == "table" and statement.columns:
        columns = ", ".join(f"{name} {kind}" for name, kind in statement.columns)
        return f"CREATE TABLE {'.'.join(statement.name)} ({columns})"
    if statement.verb == "alter system" and statement.kind == "set":
        return f"ALTER SYSTEM SET {statement.name[0]} = {statement.value}"
    return statement.sql
