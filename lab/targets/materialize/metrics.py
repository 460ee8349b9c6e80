"""Read environmentd's metrics: what the cost sheets need, what a person asks for, or the page."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path

from lab.core.errors import ExternalError
from lab.metrics import download, exposition
from lab.metrics.exposition import Family, Page, Wanted, as_series
from lab.metrics.reading import Kind, Reading, Series
from lab.targets.materialize import costs

TIMEOUT_S = 60.0
"""How long a page may take, by default: one of 500 MB takes some 15 s."""

ITEMS = 'mz_catalog_collection_entries{collection="item"}'
"""The gauge of all objects that users made, as the catalog holds them."""

BYTES_WHEN_EMPTY = 800_000
BYTES_PER_TABLE = 4_700
"""How the page grows. Seen: 0.8 MB empty, 3.9 MB at 650 tables, 21.7 MB at 4,500."""

_STARTED = ("process_start_time_seconds", "mz_start_time_environmentd")
# Their names do not say that their values are seconds.
_IN_SECONDS = frozenset(
    {
        "mz_metrics_update_duration",
        "mz_persist_external_op_latency",
        "mz_persist_external_rtt_latency",
        "mz_persist_task_total_idle_duration",
        "mz_persist_task_total_scheduled_duration",
        "mz_slow_message_handling",
        "mz_tokio_worker_mean_poll_time",
        "mz_tokio_worker_total_busy_duration",
    }
)
# A family with labels is on the page from its first use on; these are there from the start on a
# server that has it.
_WITNESSES = {
    "mz_catalog_transact_seconds": "mz_apply_catalog_implications_seconds",
    "mz_create_table_collections_seconds": "mz_initialize_storage_collections_seconds",
    "mz_pgwire_message_processing_seconds": "mz_append_table_duration_seconds",
    "mz_slow_message_handling": "mz_append_table_duration_seconds",
    "mz_storage_create_collections_seconds": "mz_initialize_storage_collections_seconds",
}
# Families beginning so are about DDL: one that is not known may be a cost that no sheet shows.
_ABOUT_DDL = (
    "mz_append_table_",
    "mz_apply_",
    "mz_catalog_",
    "mz_create_",
    "mz_drop_",
    "mz_group_commit_",
    "mz_initialize_",
    "mz_storage_create_",
)
_KNOWN = frozenset(
    {
        "mz_catalog_collection_entries",
        "mz_catalog_snapshot_consolidations",
        "mz_catalog_snapshot_latency_seconds",
        "mz_catalog_snapshot_max_entries",
        "mz_catalog_snapshot_seconds",
        "mz_catalog_snapshots_taken",
        "mz_catalog_sync_latency_seconds",
        "mz_catalog_syncs",
        "mz_catalog_transactions_started",
    }
)
_MOST_NAMED = 5
# For people: a family with more series than this has one for each object.
_MOST_PER_FAMILY = 100
_MOST_PER_FAMILY_ASKED_FOR = 5_000

_NAME = re.compile(r'(?P<family>\w+)(\{(?P<label>\w+)="(?P<value>[^"]*)"\})?(\.(?P<part>\w+))?')


def read(url: str, boot: str, *, timeout_s: float = TIMEOUT_S) -> Reading:
    """Read the series that the cost sheets are made of, and the number of objects.

    ``url`` is that of the page on the internal HTTP port; ``boot`` identifies the start of the
    server, and what the page says of it is added. A series that was not used yet counts as 0 where
    the server has its family. Families about DDL that no sheet knows are noted.

    Raises ExternalError, LabTimeoutError as `exposition.scrape` does; ``metrics.foreign`` where the
    page is not environmentd's.
    """
    page = exposition.scrape(url, wanted(), timeout_s=timeout_s)
    _require_environmentd(url, page.families)
    found = {each.name: each for each in as_series(page.samples, in_seconds=_IN_SECONDS)}
    series = (found.get(name) or _unused(name, page.families) for name in (ITEMS, *_series()))
    return _reading(page, boot, (each for each in series if each is not None))


def browse(url: str, boot: str, match: str, *, timeout_s: float = TIMEOUT_S) -> Reading:
    """Read all series but buckets whose name contains ``match``; all there are where it is empty.

    A family that has a series for each object is counted instead: one series, its unit ``series``.
    """
    most = _MOST_PER_FAMILY_ASKED_FOR if match else _MOST_PER_FAMILY
    page = exposition.browse(url, match, most=most, timeout_s=timeout_s)
    found = as_series(page.samples, in_seconds=_IN_SECONDS)
    crowds = (
        Series(name, Kind.GAUGE, "series", float(number)) for name, number in page.crowded.items()
    )
    return _reading(page, boot, sorted((*found, *crowds), key=lambda each: each.name))


def save(url: str, path: Path, *, timeout_s: float = TIMEOUT_S) -> int:
    """Write the whole page to ``path``, gzip-compressed; return the page's bytes."""
    return download.save(url, path, timeout_s=timeout_s)


def foreseen_bytes(objects: int) -> int:
    """Return how long the page will be, about, when there are ``objects`` tables."""
    return BYTES_WHEN_EMPTY + BYTES_PER_TABLE * objects


def foreseen_ns(reading: Reading, objects: int) -> int:
    """Return what such a reading will take, about, when there are ``objects`` tables."""
    return round(reading.cost_ns * max(1.0, foreseen_bytes(objects) / max(1, reading.bytes)))


@cache
def wanted() -> Wanted:
    """Return what `read` asks the page for."""
    families: dict[str, Family] = {name: Family(name) for name in _STARTED}
    for name in (ITEMS, *_series()):
        family, label, value, _ = _taken_apart(name)
        values = families[family].values if family in families else ()
        families[family] = Family(
            family, label, (*dict.fromkeys((*values, value)),) if label else ()
        )
    return Wanted(tuple(families.values()))


@cache
def _series() -> tuple[str, ...]:
    return costs.series()


def _taken_apart(name: str) -> tuple[str, str, str, str]:
    """Return family, label, value and part of the name of a series."""
    found = _NAME.fullmatch(name)
    assert found is not None, name
    return found["family"], found["label"] or "", found["value"] or "", found["part"] or ""


def _unused(name: str, families: Collection[str]) -> Series | None:
    """Return the series ``name`` at 0, None where this server does not have it."""
    family, _, _, part = _taken_apart(name)
    if name == ITEMS or not {family, _WITNESSES.get(family)} & set(families):
        return None
    unit = exposition.unit_of(family, part, _IN_SECONDS)
    return Series(name, Kind.COUNTER, unit, 0.0)


def _reading(page: Page, boot: str, series: Iterable[Series]) -> Reading:
    started = (str(each.value) for each in page.samples if each.family in _STARTED)
    unknown = sorted(
        name
        for name in page.families
        if name.startswith(_ABOUT_DDL) and name not in _KNOWN and name not in _declared()
    )
    return Reading(
        boot="/".join((boot, *started)),
        taken_ns=page.taken_ns,
        cost_ns=page.cost_ns,
        series=tuple(series),
        bytes=page.bytes_read,
        notes=_notes(unknown),
    )


def _notes(unknown: Sequence[str]) -> tuple[str, ...]:
    if not unknown:
        return ()
    more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
    named = ", ".join(unknown[:_MOST_NAMED])
    return (f"The server has metrics about DDL that no cost sheet shows: {named}{more}.",)


@cache
def _declared() -> frozenset[str]:
    return frozenset(family.name for family in wanted().families)


def _require_environmentd(url: str, families: Collection[str]) -> None:
    if not _declared() & set(families):
        raise ExternalError(
            f"The metrics of {url} are not those of environmentd.",
            code="metrics.foreign",
            why="None of the families that it has are there.",
            remedy="They are served on the port for internal HTTP. `env.status` shows the address.",
        )
