"""Tell what a statement that the upstream was sent is for, by the words in its text."""

from __future__ import annotations

import re
from typing import NamedTuple

OTHER = "other"
SNAPSHOT = "snapshot"

SHAPES = (
    "connection-checks",
    "publication",
    "columns",
    "constraints",
    "privileges",
    "replica-identity",
    "session",
    "imported-catalog",
    SNAPSHOT,
    OTHER,
)
"""What statements are for.

``connection-checks``: the server's version, settings and free slots; ``publication``: it, and what
it publishes; ``columns``, ``constraints``: those of published tables; ``privileges``: of the role
on them, row security included; ``replica-identity``: whether they have the full one; ``session``:
SET, transactions, cursors; ``imported-catalog``: what IMPORT FOREIGN SCHEMA reads; ``snapshot``:
replication and initial copies, which run beside the statements; ``other``: none of these.
"""

# Comments, strings (with dollars, too), quoted names, and words.
_TOKEN = re.compile(
    r"--[^\n]*|/\*.*?(?:\*/|\Z)|'(?:[^']|'')*(?:'|\Z)"
    r"|\$(?P<tag>(?:[a-z_]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)"
    r"|\"(?P<quoted>(?:[^\"]|\"\")*)\"|(?P<word>[a-z_][a-z0-9_$]*)",
    re.DOTALL,
)


class _Rule(NamedTuple):
    """Texts of ``shape``: those with all of ``words``, and any of ``some`` where it is given.

    ``verbs`` are the first words that it may begin with, none for any; ``none`` must not occur.
    """

    shape: str
    words: frozenset[str] = frozenset()
    some: frozenset[str] = frozenset()
    none: frozenset[str] = frozenset()
    verbs: frozenset[str] = frozenset()


def _rule(shape: str, words: str = "", *, some: str = "", none: str = "", verbs: str = "") -> _Rule:
    return _Rule(shape, *(frozenset(each.split()) for each in (words, some, none, verbs)))


# The first that fits decides. Source of what is asked: pg_stat_statements of an upstream that a
# Materialize source and postgres_fdw read.
_RULES = (
    _rule(SNAPSHOT, "transaction snapshot", verbs="set"),
    _rule(SNAPSHOT, verbs="copy identify_system read_replication_slot timeline_history"),
    _rule(
        SNAPSHOT,
        verbs="create_replication_slot start_replication drop_replication_slot"
        " alter_replication_slot base_backup",
    ),
    _rule(
        "session",
        verbs="set reset begin start commit end rollback abort savepoint release discard"
        " deallocate prepare execute fetch move close",
    ),
    _rule(
        SNAPSHOT,
        some="pg_export_snapshot pg_current_wal_lsn pg_control_checkpoint pg_terminate_backend"
        " wal_sender_timeout active_pid confirmed_flush_lsn reltuples relpages",
    ),
    # A copy asks for the tables that it copies, by their ids; a statement asks for all of them.
    _rule(SNAPSHOT, "pg_publication_tables any"),
    # A running source asks now and then whether the publication is still there.
    _rule(SNAPSHOT, "pg_publication pubname", none="oid pg_publication_tables"),
    _rule(
        "privileges",
        some="has_table_privilege has_schema_privilege has_column_privilege pg_policy pg_policies"
        " pg_has_role rolbypassrls",
    ),
    _rule("replica-identity", some="relreplident"),
    _rule("publication", some="pg_publication pg_publication_tables pg_publication_rel"),
    _rule("imported-catalog", "pg_attribute", some="format_type pg_attrdef pg_collation"),
    _rule("imported-catalog", "pg_namespace nspname", none="pg_class pg_attribute pg_constraint"),
    _rule("columns", some="pg_attribute"),
    _rule("constraints", some="pg_constraint pg_index"),
    _rule(
        "connection-checks",
        some="current_setting server_version_num wal_level max_wal_senders max_replication_slots"
        " pg_replication_slots",
    ),
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_COUNTS_ROWS = re.compile(r"select count\(\*\)(?: as \w+)? from \S+ ?;?")


def shape_of(text: str) -> str:
    """Return the one of `SHAPES` that the statement ``text`` is of; `OTHER` where none fits."""
    words = _words(text)
    if not words:
        return OTHER
    there = frozenset(words)
    for rule in _RULES:
        if (
            rule.words <= there
            and not rule.none & there
            and (not rule.some or rule.some & there)
            and (not rule.verbs or words[0] in rule.verbs)
        ):
            return rule.shape
    # A copy counts a table's rows where the planner's estimate is too small to go by.
    plain = in_one_line(_COMMENT.sub(" ", text.lower()))
    return SNAPSHOT if _COUNTS_ROWS.fullmatch(plain) else OTHER


def in_one_line(text: str) -> str:
    """Return ``text`` with each stretch of white space as one space."""
    return " ".join(text.split())


def _words(text: str) -> list[str]:
    found = (each["word"] or each["quoted"] for each in _TOKEN.finditer(text.lower()))
    return [word for word in found if word]
