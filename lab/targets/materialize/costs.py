"""Where the time of a Materialize statement goes: containment trees over its own timers.

Names are those of `lab.metrics.exposition.series_name`. What lies in what was read from the public
source of environmentd, versions 26.13 ("spike", the branch of the published investigation) and
26.24 ("head"), and seen on a running one. A timer that counts all of the server's work (timestamp
oracle, appends) overlaps: part of it is in its siblings, too, or runs beside the statement.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.core.errors import UsageError
from lab.core.nearest import did_you_mean
from lab.metrics.tree import CostSheet, Node, Quantity

HEAD = "head"
SPIKE = "spike"

_AUTOCOMMIT = "autocommit"


def _histogram(
    label: str,
    family: str,
    selected: str = "",
    *,
    whole: bool = False,
    overlaps: bool = False,
    counted: bool = True,
    generation: str = "",
    children: tuple[Node, ...] = (),
) -> Node:
    """Return the node of a histogram; ``selected`` is its label in braces."""
    return Node(
        label=label,
        time=(f"{family}{selected}.sum",),
        calls=(f"{family}{selected}.count",) if counted else (),
        whole=whole,
        overlaps=overlaps,
        generation=generation,
        children=children,
    )


def _message(label: str, kind: str, *children: Node) -> Node:
    return _histogram(
        label,
        "mz_slow_message_handling",
        f'{{message_kind="{kind}"}}',
        whole=True,
        children=children,
    )


def _transact(label: str, method: str, *children: Node) -> Node:
    return _histogram(
        label,
        "mz_catalog_transact_seconds",
        f'{{method="catalog_transact{method}"}}',
        whole=True,
        children=children,
    )


def _oracle(op: str) -> Node:
    return Node(
        label=f"oracle {op}",
        time=(f'mz_ts_oracle_seconds{{op="{op}"}}',),
        calls=(f'mz_ts_oracle_succeeded_count{{op="{op}"}}',),
        overlaps=True,
    )


def _steps(prefix: str, family: str, *steps: str, last: tuple[Node, ...] = ()) -> tuple[Node, ...]:
    return tuple(
        _histogram(
            f"{prefix}: {step}",
            family,
            f'{{step="{step}"}}',
            counted=False,
            generation=SPIKE,
            children=last if step == "create_collections" else (),
        )
        for step in steps
    )


_STORAGE_STEPS = _steps(
    "storage",
    "mz_storage_create_collections_seconds",
    "storage_collections",
    "open_data_handles",
    "sequential_loop",
    "table_register",
)
_TABLE_STEPS = (
    *_steps(
        "create table",
        "mz_create_table_collections_seconds",
        "get_local_write_ts",
        "confirm_leadership",
        "create_collections",
        "apply_local_write",
        last=_STORAGE_STEPS,
    ),
    _histogram(
        "initialize storage collections",
        "mz_initialize_storage_collections_seconds",
        counted=False,
        generation=SPIKE,
    ),
)
# On the newer generation, which has no timers of the steps, it shows the largest of them. The step
# `table_register` contains it on the older one, which has the same counter.
_REGISTER = Node(
    label="txn register",
    time=('mz_txn_op_duration_seconds{op="register"}',),
    calls=('mz_txn_op_started_count{op="register"}',),
    overlaps=True,
)


def _work(*in_implications: Node) -> tuple[Node, ...]:
    """Return what a catalog transaction consists of, whichever method carries it out."""
    return (
        Node(
            label="catalog commit",
            time=("mz_catalog_transaction_commit_latency_seconds",),
            calls=("mz_catalog_transaction_commits",),
        ),
        _histogram(
            "group commit: catalog upper",
            "mz_group_commit_catalog_upper_seconds",
            generation=HEAD,
        ),
        _histogram(
            "group commit: table advancement",
            "mz_group_commit_table_advancement_seconds",
            generation=HEAD,
        ),
        _histogram(
            "group commit: confirm leadership",
            "mz_group_commit_confirm_leadership_seconds",
            generation=SPIKE,
        ),
        _histogram(
            "apply implications",
            "mz_apply_catalog_implications_seconds",
            whole=True,
            children=in_implications,
        ),
        _oracle("write_ts"),
        _oracle("read_ts"),
        _oracle("apply_write"),
        _histogram("append table", "mz_append_table_duration_seconds", overlaps=True),
    )


# One call per 512 statements on the newer generation, one per statement on the older one.
_ALLOCATE = _histogram("allocate id", "mz_catalog_allocate_id_seconds")
_IN_TABLE = (*_TABLE_STEPS, _REGISTER)


def _side_effects(*in_implications: Node) -> Node:
    return _transact("transact with side effects", "_with_side_effects", *_work(*in_implications))


def _ddl_transaction(*in_implications: Node) -> Node:
    return _transact(
        "transact with DDL transaction",
        "_with_ddl_transaction",
        _side_effects(*in_implications),
    )


_WITH_CONTEXT = _transact("transact with context", "_with_context", *_work())


def _execute(*children: Node) -> Node:
    return _message("execute message", "command-execute", *children)


_DROP = (_execute(_WITH_CONTEXT),)
_RENAME = (_execute(_ddl_transaction()),)

# The messages that the coordinator handles for a statement, one after the other.
_MESSAGES: dict[str, tuple[Node, ...]] = {
    "create-table": (_execute(_ALLOCATE, _ddl_transaction(*_IN_TABLE)),),
    "create-table-from-source": (
        _execute(),
        _message(
            "purified message",
            "purified_statement_ready",
            _ALLOCATE,
            _ddl_transaction(*_IN_TABLE),
        ),
    ),
    "create-view": (
        _execute(_ALLOCATE),
        _message(
            "create view message",
            "create_view_stage_ready",
            _transact("transact", "", _WITH_CONTEXT),
        ),
    ),
    "create-index": (
        _execute(_ALLOCATE),
        _message("create index message", "create_index_stage_ready", _side_effects()),
    ),
    "create-materialized-view": (
        _execute(_ALLOCATE),
        _message(
            "create materialized view message",
            "create_materialized_view_stage_ready",
            _side_effects(),
        ),
    ),
    "alter-rename": _RENAME,
    "drop-table": _DROP,
    "drop-view": _DROP,
    "drop-index": _DROP,
    "drop-materialized-view": _DROP,
}

# Within BEGIN and COMMIT these are tried out when they are sent, and carried out at COMMIT; the two
# methods are disjoint then.
_TRIED = _transact("dry run", "_with_ddl_transaction")
_MESSAGES_TO_COMMIT: dict[str, tuple[Node, ...]] = {
    "create-table-from-source": (
        _execute(_side_effects(*_IN_TABLE)),
        _message("purified message", "purified_statement_ready", _ALLOCATE, _TRIED),
    ),
    "alter-rename": (_execute(_TRIED, _side_effects()),),
}

STATEMENTS = tuple(_MESSAGES)
"""The statements that have a cost sheet."""

_REST = "the round trip, and what the server does outside its timer of query messages"
_REST_IN_TRANSACTION = (
    "the round trips, parsing and planning, and waiting for the coordinator: the server's timer of "
    "query messages is no use here, since it counts BEGIN, too"
)
_REST_OF_SOURCE = "; of looking at the upstream, what cannot be seen there"

_EXTERNAL = "mz_persist_external"
_QUANTITIES = (
    Quantity(
        "oracle calls",
        tuple(
            f'mz_ts_oracle_succeeded_count{{op="{op}"}}'
            for op in ("write_ts", "read_ts", "apply_write", "peek_write_ts")
        ),
        "count",
    ),
    Quantity(
        "consensus compare-and-set", (f'{_EXTERNAL}_started_count{{op="consensus_cas"}}',), "count"
    ),
    Quantity("consensus scans", (f'{_EXTERNAL}_started_count{{op="consensus_scan"}}',), "count"),
    Quantity("blob writes", (f'{_EXTERNAL}_started_count{{op="blob_set"}}',), "count"),
    Quantity("blob", (f'{_EXTERNAL}_bytes_count{{op="blob_set"}}',), "bytes"),
    Quantity("consensus", (f'{_EXTERNAL}_bytes_count{{op="consensus_cas"}}',), "bytes"),
    Quantity(
        "txn operations",
        tuple(
            f'mz_txn_op_started_count{{op="{op}"}}'
            for op in ("register", "forget", "commit", "apply_le")
        ),
        "count",
    ),
)
_DISTURBANCES = (
    Quantity(
        "statements waited for another session's DDL",
        ('mz_slow_message_handling{message_kind="deferred_statement_ready"}.count',),
        "count",
    ),
)


def cost_sheet(statement: str, mode: str = _AUTOCOMMIT) -> CostSheet:
    """Return where the time of ``statement`` goes, sent alone or in a transaction of its own.

    The sheet holds the timers of both generations; a server has those of one.

    Raises
    ------
    UsageError
        There is no sheet for it; the nearest statement is named.

    """
    if statement not in _MESSAGES:
        raise UsageError(
            f"Materialize is not measured with `{statement}`.",
            code="statement.unknown",
            why=f"Known: {', '.join(STATEMENTS)}.",
            remedy=did_you_mean(statement, STATEMENTS, "Choose from these."),
        )
    alone = mode == _AUTOCOMMIT
    rest = _REST if alone else _REST_IN_TRANSACTION
    if statement == "create-table-from-source" and not alone:
        rest += _REST_OF_SOURCE
    return CostSheet(
        roots=_sent_alone(statement) if alone else _in_transaction(statement),
        quantities=_QUANTITIES,
        rest=rest,
        disturbances=_DISTURBANCES,
    )


def series() -> tuple[str, ...]:
    """Return the names of all series that any sheet is made of, each once."""
    sheets = [
        cost_sheet(each, mode) for each in STATEMENTS for mode in (_AUTOCOMMIT, "transaction")
    ]
    names = [name for sheet in sheets for node in sheet.roots for name in _names(node)]
    names += [name for each in (*_QUANTITIES, *_DISTURBANCES) for name in each.series]
    return tuple(dict.fromkeys(names))


def _sent_alone(statement: str) -> tuple[Node, ...]:
    # Its timer includes waiting for the coordinator, and looking at the upstream.
    query = _histogram(
        "query message",
        "mz_pgwire_message_processing_seconds",
        '{message_type="query"}',
        whole=True,
        children=(*_MESSAGES[statement], _message("commit message", "command-commit")),
    )
    return (query,)


def _in_transaction(statement: str) -> tuple[Node, ...]:
    if statement in _MESSAGES_TO_COMMIT:
        return _MESSAGES_TO_COMMIT[statement]
    first, *others = _MESSAGES[statement]
    # What may be in no transaction with others is put off whole, to the COMMIT.
    put_off = _message("put-off message", "execute_single_statement_transaction", *first.children)
    return (_execute(), put_off, *others)


def _names(node: Node) -> Iterator[str]:
    yield from (*node.time, *node.calls)
    for child in node.children:
        yield from _names(child)
