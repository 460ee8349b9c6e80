"""The part of `/metrics` that grows: about fifty series for each object with data of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

_LAG = "mz_dataflow_wallclock_lag_seconds"
_PRESSURE = ("emitted_bytes", "last_backpressured_bytes", "retired_bytes")
_SHARD = (
    "batch_part_count",
    "blob_gets",
    "blob_sets",
    "cmd_succeeded",
    "compact_batches",
    "compacting_batches",
    "compaction_applied",
    "diff_size_bytes",
    "gc_finished",
    "gc_live_diffs",
    "gc_seqno_held_parts",
    "hollow_batch_count",
    "inline_backpressure_count",
    "inline_part_bytes",
    "inline_part_count",
    "largest_batch_size",
    "live_writers",
    "noncompact_batches",
    "pubsub_diff_applied",
    "pubsub_diff_not_applied_out_of_order",
    "pubsub_diff_not_applied_stale",
    "rewrite_part_count",
    "rollup_count",
    "rollup_size_bytes",
    "schema_registry_version_count",
    "seqnos_held",
    "seqnos_since_last_rollup",
    "since",
    "spine_batch_count",
    "stale_version",
    "unconsolidated_snapshot",
    "update_count",
    "upper",
    "usage_current_state_batches_bytes",
    "usage_current_state_rollups_bytes",
    "usage_leaked_bytes",
    "usage_not_leaked_not_referenced_bytes",
    "usage_referenced_not_current_state_bytes",
)
_SYSTEM_SHARDS = [
    (f"s{number}", f"s{number:08}-0000-0000-0000-000000000000") for number in range(89)
]


def object_series(shards: list[tuple[str, str]]) -> Iterator[str]:
    """Yield the page's text, a family at a time; ``shards`` are id and shard of each object."""
    shards = [*_SYSTEM_SHARDS, *shards]
    yield f"# TYPE {_LAG} summary\n"
    for suffix, more in (
        ("", 'quantile="0",'),
        ("", 'quantile="1",'),
        ("_count", ""),
        ("_sum", ""),
    ):

        def lag(name: str, shard: str, suffix: str = suffix, more: str = more) -> str:
            del shard
            return (
                f'{_LAG}{suffix}{{collection_id="{name}",instance_id="",{more}replica_id=""}} 1\n'
            )

        yield _lines(shards, lag)
    for prefix, names in (("mz_persist_backpressure_", _PRESSURE), ("mz_persist_shard_", _SHARD)):
        for name in names:
            family = f"{prefix}{name}"

            def one(label: str, shard: str, family: str = family) -> str:
                return f'{family}{{name="{label}",shard="{shard}"}} 1\n'

            yield f"# TYPE {family} gauge\n"
            yield _lines(shards, one)


def _lines(shards: list[tuple[str, str]], line: Callable[[str, str], str]) -> str:
    return "".join([line(name, shard) for name, shard in shards])
