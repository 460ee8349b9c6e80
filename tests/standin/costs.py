"""How statements and the passing of time move the metrics.

Everything is derived from how long a statement really took in the coordinator, by the proportions
that a debug build had at 650 tables: a child is never longer than its parent.
"""

from __future__ import annotations

import threading
import time

from standin.catalog import SYSTEM_ITEMS, Catalog
from standin.metrics import Registry, powers

_SECONDS = powers(0.001, 32)
_HISTOGRAMS = {
    "mz_catalog_transact_seconds": _SECONDS,
    "mz_apply_catalog_implications_seconds": _SECONDS,
    "mz_catalog_allocate_id_seconds": _SECONDS,
    "mz_slow_message_handling": powers(0.000128, 16),
    "mz_append_table_duration_seconds": powers(0.128, 32),
    "mz_coord_queue_busy_seconds": powers(0.000128, 32),
    "mz_pgwire_message_processing_seconds": powers(0.001, 512),
    "mz_persist_external_op_latency": powers(0.000512, 32),
    "mz_parse_seconds": powers(0.000128, 16),
}
_COUNTERS = (
    "mz_catalog_transaction_commit_latency_seconds",
    "mz_catalog_transaction_commits",
    "mz_catalog_transactions_started",
    "mz_ts_oracle_seconds",
    "mz_ts_oracle_succeeded_count",
    "mz_ts_oracle_started_count",
    "mz_query_total",
    "mz_adapter_commands",
    "mz_persist_cmd_seconds",
    "mz_persist_cmd_succeeded_count",
    "mz_persist_external_seconds",
    "mz_persist_external_started_count",
    "mz_persist_external_succeeded_count",
    "mz_persist_external_bytes_count",
    "mz_txn_op_duration_seconds",
    "mz_txn_op_started_count",
    "mz_txn_op_succeeded_count",
    "mz_http_requests_total",
)
_OF_GENERATION = {
    "head": (
        "mz_group_commit_table_advancement_seconds",
        "mz_group_commit_catalog_upper_seconds",
    ),
    "spike": (
        "mz_group_commit_confirm_leadership_seconds",
        "mz_create_table_collections_seconds",
        "mz_initialize_storage_collections_seconds",
        "mz_storage_create_collections_seconds",
    ),
}
_WITHOUT_LABELS = (
    "mz_append_table_duration_seconds",
    "mz_apply_catalog_implications_seconds",
    "mz_catalog_allocate_id_seconds",
    "mz_catalog_transaction_commit_latency_seconds",
    "mz_catalog_transaction_commits",
    "mz_catalog_transactions_started",
    "mz_coord_queue_busy_seconds",
)
"""What is on the page from the start on; a family with labels is so from its first use on."""
_METHODS = {
    "create-table": ("with_ddl_transaction", "with_side_effects"),
    "create-table-from-source": ("with_ddl_transaction", "with_side_effects"),
    "alter-rename": ("with_ddl_transaction", "with_side_effects"),
    "create-view": ("", "with_context"),
    "create-index": ("with_side_effects",),
    "create-materialized-view": ("with_side_effects",),
}
"""The methods that a kind goes through, the outer one first; others go ``with_context``."""
_MESSAGES = {
    "create-table-from-source": "purified_statement_ready",
    "create-view": "create_view_stage_ready",
    "create-index": "create_index_stage_ready",
    "create-materialized-view": "create_materialized_view_stage_ready",
}
_STEPS = {
    "mz_create_table_collections_seconds": {
        "get_local_write_ts": 0.02,
        "confirm_leadership": 0.02,
        "create_collections": 0.85,
        "apply_local_write": 0.05,
    },
    "mz_storage_create_collections_seconds": {
        "storage_collections": 0.25,
        "open_data_handles": 0.15,
        "sequential_loop": 0.05,
        "table_register": 0.5,
    },
}
_APPLY = 0.73
_TABLES = 0.6  # of applying the implications, where a table is made
_ORACLE = {"write_ts": (3, 0.037), "apply_write": (2, 0.052), "read_ts": (2, 0.009)}
_PERSIST = {"compare_and_append": 0.2, "register": 0.05, "init_state": 0.3}
_TXN = {"register": (1, 0.12), "commit": (1, 0.06), "apply_le": (2, 0.3)}
_IDS = 512  # are allocated in one go, on HEAD
_IDLE_CAS_PER_S = 45
_BYTES = {"consensus_cas": 830, "blob_set": 33_000}  # of a call
_EXTERNAL_OPS = (
    "blob_delete",
    "blob_get",
    "blob_list_keys",
    "blob_set",
    "consensus_cas",
    "consensus_head",
    "consensus_list_keys",
    "consensus_scan",
    "consensus_truncate",
    "restore",
)


class Costs:
    """Books what happens. ``generation`` is ``head`` or ``spike``."""

    def __init__(self, registry: Registry, generation: str, *, idle_drift: bool) -> None:
        self._registry = registry
        self._head = generation == "head"
        self._drift = idle_drift
        self._lock = threading.Lock()
        self._ids_left = 0
        self._idle_since = time.monotonic()
        for name, buckets in _HISTOGRAMS.items():
            registry.define(name, "histogram", buckets)
        for name in _OF_GENERATION[generation]:
            registry.define(name, "histogram", _SECONDS)
        for name in _COUNTERS:
            registry.define(name, "counter")
        for name in ("mz_catalog_collection_entries", "mz_active_sessions"):
            registry.define(name, "gauge")
        for name in (*_OF_GENERATION[generation], *_WITHOUT_LABELS):
            if name not in _STEPS:
                registry.start_at_zero(name)
        for op in _EXTERNAL_OPS:
            for what in ("seconds", "started_count", "succeeded_count", "bytes_count"):
                registry.start_at_zero(f"mz_persist_external_{what}", op=op)

    def ddl(self, kind: str, seconds: float, *, new_ids: int = 0, at_commit: bool = False) -> None:
        """Book a DDL statement that spent ``seconds`` in the coordinator's hands.

        ``at_commit`` says that it was put off until its transaction's COMMIT.
        """
        first, staged = "command-execute", _MESSAGES.get(kind)
        if at_commit:
            self.message(first, seconds * 0.005)
            first = "execute_single_statement_transaction"
        work = seconds * (0.93 if staged else 0.985)
        self.message(first, seconds * 0.05 if staged else work)
        if staged:
            self.message(staged, work)
        self._allocate(new_ids, seconds * 0.002)
        self._transact(kind, work * 0.99, work * 0.985)
        self._inside(kind, work * 0.98)
        self.message("command-commit", seconds * 0.004)

    def dry_run(self, kind: str, seconds: float, *, new_ids: int = 0) -> None:
        """Book a statement of a DDL transaction, before its COMMIT."""
        staged = _MESSAGES.get(kind)
        work = seconds * (0.93 if staged else 0.985)
        self.message("command-execute", seconds * 0.05 if staged else work)
        if staged:
            self.message(staged, work)
        self._allocate(new_ids, seconds * 0.002)
        method = "catalog_transact_with_ddl_transaction"
        self._registry.observe("mz_catalog_transact_seconds", work * 0.99, method=method)

    def commit(self, kind: str, seconds: float) -> None:
        """Book the COMMIT of a DDL transaction."""
        method = "catalog_transact_with_side_effects"
        self.message("command-execute", seconds * 0.99)
        self._registry.observe("mz_catalog_transact_seconds", seconds * 0.98, method=method)
        self._inside(kind, seconds * 0.97)

    def query(self, statement_type: str, session_type: str) -> None:
        """Count a statement."""
        labels = {"session_type": session_type, "statement_type": statement_type}
        self._registry.add("mz_query_total", 1, **labels)

    def pgwire(self, message: str, seconds: float) -> None:
        """Book a message of a client's."""
        name = "mz_pgwire_message_processing_seconds"
        self._registry.observe(name, seconds, message_type=message)

    def parsed(self, seconds: float) -> None:
        """Book a statement's parsing."""
        self._registry.observe("mz_parse_seconds", seconds)

    def message(self, kind: str, seconds: float, times: int = 1) -> None:
        """Book a message of the coordinator's."""
        self._registry.observe("mz_slow_message_handling", seconds, times, message_kind=kind)

    def settle(self, catalog: Catalog, sessions: int) -> None:
        """Bring what grows by itself up to now; to be called before the page is shown."""
        gauge = self._registry.set
        entries = {name: len(values) for name, values in list(catalog.collections.items())}
        temporary = sum(i["schema"].startswith("temp:") for i in list(catalog.items.values()))
        entries["item"] = len(catalog.items) - temporary + SYSTEM_ITEMS
        for name, real in (("cluster", "compute_instance"), ("replica", "compute_replicas")):
            entries[real] = entries.pop(name, 0)
        entries["storage_collection_metadata"] = 87 + catalog.by_type["table"]
        for name in ("id_alloc", "config"):
            entries.pop(name, None)
        for name, count in entries.items():
            gauge("mz_catalog_collection_entries", count, collection=name)
        gauge("mz_active_sessions", sessions, session_type="user")
        with self._lock:
            now = time.monotonic()
            whole = int(now - self._idle_since)
            self._idle_since += whole
        if whole and self._drift:
            self._idle(whole)

    def _transact(self, kind: str, outer: float, inner: float) -> None:
        methods = _METHODS.get(kind, ("with_context",))
        for method, seconds in zip(methods, (outer, inner), strict=False):
            name = f"catalog_transact_{method}".removesuffix("_")
            self._registry.observe("mz_catalog_transact_seconds", seconds, method=name)

    def _allocate(self, new_ids: int, seconds: float) -> None:
        calls = new_ids
        if self._head:
            with self._lock:
                calls = 1 if new_ids > self._ids_left else 0
                self._ids_left += _IDS * calls - new_ids
        if calls:
            self._registry.observe("mz_catalog_allocate_id_seconds", seconds, calls)

    def _inside(self, kind: str, seconds: float) -> None:
        """Book what a catalog transaction consists of."""
        add, observe = self._registry.add, self._registry.observe
        applied = seconds * _APPLY
        observe("mz_apply_catalog_implications_seconds", applied)
        add("mz_catalog_transaction_commit_latency_seconds", seconds * 0.034)
        add("mz_catalog_transaction_commits", 1)
        add("mz_catalog_transactions_started", 1)
        self._group_commit(seconds * 0.47, seconds * 0.018)
        for op, (calls, share) in _ORACLE.items():
            self._oracle(op, calls, seconds * share)
        for command, share in _PERSIST.items():
            add("mz_persist_cmd_seconds", seconds * share, cmd=command)
            add("mz_persist_cmd_succeeded_count", 1, cmd=command)
        self._external("consensus_cas", 8, seconds * 0.08)
        self._external("consensus_scan", 4, seconds * 0.02)
        self._external("blob_set", 2, seconds * 0.05)
        for op, (calls, share) in _TXN.items():
            add("mz_txn_op_duration_seconds", seconds * share, op=op)
            add("mz_txn_op_started_count", calls, op=op)
            add("mz_txn_op_succeeded_count", calls, op=op)
        if not self._head and kind.startswith("create-table"):
            self._collections(applied * _TABLES)

    def _collections(self, seconds: float) -> None:
        observe = self._registry.observe
        name, inner = _STEPS
        for step, share in _STEPS[name].items():
            observe(name, seconds * share, step=step)
        for step, share in _STEPS[inner].items():
            created = seconds * _STEPS[name]["create_collections"]
            observe(inner, created * share, step=step)
        observe("mz_initialize_storage_collections_seconds", seconds * 0.01)

    def _group_commit(self, append: float, leadership: float, times: int = 1) -> None:
        observe = self._registry.observe
        observe("mz_append_table_duration_seconds", append, times)
        if self._head:
            observe("mz_group_commit_catalog_upper_seconds", leadership, times)
            observe("mz_group_commit_table_advancement_seconds", leadership * 0.1, times)
        else:
            observe("mz_group_commit_confirm_leadership_seconds", leadership, times)

    def _oracle(self, op: str, calls: int, seconds: float) -> None:
        self._registry.add("mz_ts_oracle_seconds", seconds, op=op)
        self._registry.add("mz_ts_oracle_succeeded_count", calls, op=op)
        self._registry.add("mz_ts_oracle_started_count", calls, op=op)

    def _external(self, op: str, calls: int, seconds: float) -> None:
        """Book calls of the stores that take ``seconds`` each."""
        self._registry.observe("mz_persist_external_op_latency", seconds, calls, op=op)
        self._registry.add("mz_persist_external_seconds", seconds * calls, op=op)
        for what in ("started", "succeeded"):
            self._registry.add(f"mz_persist_external_{what}_count", calls, op=op)
        self._registry.add("mz_persist_external_bytes_count", calls * _BYTES.get(op, 0), op=op)

    def _idle(self, seconds: int) -> None:
        """Book what happens in so many seconds without any statement."""
        self._group_commit(0.04, 0.006, seconds)
        self.message("advance_timelines", 0.005, seconds)
        self.message("group_commit_initiate", 0.018, seconds)
        self.message("controller_ready(compute)", 0.00005, 100 * seconds)
        for op in ("write_ts", "apply_write", "peek_write_ts"):
            self._oracle(op, seconds, 0.003 * seconds)
        self._external("consensus_cas", _IDLE_CAS_PER_S * seconds, 0.03)
        self._registry.add(
            "mz_persist_cmd_seconds", 0.5 * seconds, cmd="compare_and_downgrade_since"
        )
        self._registry.observe("mz_coord_queue_busy_seconds", 0.0002, max(1, seconds // 5))
