"""The transactions of a batch benchmark on one source, one after the other."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence

import msgspec
import psycopg

from lab.core.errors import LabError
from lab.core.progress import Progress, Stage
from lab.measure.batch_ledger import Ledger
from lab.measure.batch_plan import BatchOrder
from lab.measure.batch_record import Batch
from lab.measure.batch_timing import Taken, time_transaction
from lab.measure.batch_watch import AwayError, Watch, sentences
from lab.measure.block import changed_counts
from lab.measure.host import noise_since, probe_noise
from lab.measure.host_noise import HostNoise
from lab.measure.sampler import Sampler, answers, interrupt
from lab.metrics.reading import Delta, Reading, difference
from lab.servers.connection import Connection
from lab.targets.base import Environment, ObjectCounts, Trouble
from lab.targets.parts import Sourcing
from lab.upstream.upstream import Upstream

_PACE_S = 0.2
_CHANGED = "the object count changed"


class LostError(Exception):
    """The target or the upstream cannot be measured any more; says why."""


class ChangedError(Exception):
    """The object count is not that of the run any more; says why."""


class BatchScene(msgspec.Struct, frozen=True, kw_only=True):
    """What stays the same during a run.

    ``boot`` is the start of the target that the run belongs to, ``objects`` what was there at its
    beginning, ``telling`` names the series that costs are made of. What moved in the counters is
    kept of the transactions with the indices ``kept``. A statement is given up after ``timeout_s``,
    an upstream that does not answer after ``back_s``.
    """

    environment: Environment
    upstream: Upstream
    observer: Connection
    boot: str
    objects: ObjectCounts
    telling: frozenset[str]
    kept: frozenset[int]
    timeout_s: float
    back_s: float


class BatchSource(msgspec.Struct, frozen=True, kw_only=True):
    """One database of the upstream as the target reads it; ``tables`` are its published ones.

    ``swept`` says that it is one of a sweep over their number.
    """

    sourcing: Sourcing
    database: str
    tables: tuple[int, ...]
    swept: bool = False

    def numbers(self, order: BatchOrder) -> tuple[int, ...]:
        """Return the numbers of the upstream's tables that ``order`` uses."""
        return self.tables[order.first - 1 : order.first - 1 + order.size]


class _Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What is seen of the target and the upstream before a transaction, or after it.

    Afterwards a reading is None where the counters are not kept, or cannot be read any more.
    """

    boot: str
    objects: ObjectCounts
    server: Reading | None
    upstream: Reading | None


class BatchCourse:
    """Carries out transactions on ``source`` and takes them down in ``ledger``.

    Holds the measured connection and one that watches the upstream: to be closed.

    Raises psycopg.Error, LabError where either cannot be opened.
    """

    def __init__(
        self, scene: BatchScene, source: BatchSource, ledger: Ledger, progress: Progress
    ) -> None:
        self._scene = scene
        self._source = source
        self._ledger = ledger
        self._progress = progress
        self._tables: dict[int, frozenset[int]] = {}
        self._explained: set[str] = set()
        self._lost = 0
        self._watch = Watch(scene.upstream, source.database, ledger)
        try:
            self._measured = self._connected()
        except BaseException:
            self._watch.close()
            raise

    def close(self) -> None:
        """End what is under way, and close both connections."""
        interrupt(self._measured)
        self._measured.close()
        self._watch.close()

    def run(self, orders: Sequence[BatchOrder], stage: Stage) -> None:
        """Carry out ``orders``, and make sure that what was committed is there.

        Raises
        ------
        LostError, ChangedError
            Nothing more can be measured; what was measured before is in the ledger.

        """
        try:
            for order in orders:
                self._take(order, stage)
        except (LostError, ChangedError):
            self._require_made()
            raise
        # Not after Ctrl-C: nothing is kept then, and a busy target would hold up the end.
        self._require_made()

    def _require_made(self) -> None:
        # Where the target is lost the run is void, and there is nothing to look at.
        with contextlib.suppress(psycopg.Error, LabError):
            made = self._source.sourcing.made(self._scene.observer)
            for batch in self._ledger.require(self._tables, made):
                self._tell_void(batch)

    def _take(self, order: BatchOrder, stage: Stage) -> None:
        """Carry out one transaction between two looks, so that the lab's work is in no figure."""
        before = self._look_first(order)
        changed = changed_counts(self._scene.objects.by_type, before.objects.by_type)
        if changed:
            raise ChangedError(f"before transaction {order.index} {_CHANGED}: {changed}")
        create = self._source.sourcing.create
        numbers = self._source.numbers(order)
        sampler = Sampler(self._measured, self._scene.timeout_s)
        probe = probe_noise()
        taken = time_transaction(
            sampler, [*map(create, numbers)], self._watch.read_if_there, stage.advance
        )
        noise = noise_since(probe)
        after = None if taken.lost else self._look_back(order)
        batch = self._batch(order, before, taken, after, noise)
        self._ledger.batches.append(batch)
        self._tables[order.index] = frozenset(numbers)
        stage.advance(order.size - len(taken.statements_ns))
        if batch.error:
            self._tell_failure(batch, lost=bool(taken.lost))
        elif batch.void:
            self._tell_void(batch)
        self._go_on(order, taken, after)

    def _connected(self) -> Connection:
        connection = self._scene.environment.connect("measure")
        try:
            for statement in self._source.sourcing.warm_up:
                connection.execute(statement.encode())
        except BaseException:
            connection.close()
            raise
        return connection

    def _look_first(self, order: BatchOrder) -> _Sight:
        """Look before a transaction; an upstream that is away, as in a restart, is waited for.

        Raises
        ------
        LostError
            The target does not answer, or the upstream did not come back.

        """
        until, back_s = 0.0, self._scene.back_s
        while True:
            try:
                left = self._watch.settle()
                if left:
                    self._tell(f"the upstream was not at rest before a transaction: {left}")
                return self._look(order)
            except (psycopg.Error, LabError) as error:
                why = sentences(error)
                raise LostError(f"transaction {order.index} could not be begun: {why}") from error
            except AwayError as away:
                now = time.monotonic()
                if not until:
                    until = now + back_s
                    self._tell(f"the upstream did not answer before transaction {order.index}")
                    self._progress.say(f"It is waited for, {back_s:g} s at most.")
                if now >= until:
                    raise LostError(
                        f"transaction {order.index} could not be begun, as the upstream was not"
                        f" back within {back_s:g} s: {sentences(away.error)}"
                    ) from away
                time.sleep(_PACE_S)

    def _look(self, order: BatchOrder) -> _Sight:
        environment, observer = self._scene.environment, self._scene.observer
        return _Sight(
            objects=environment.count_objects(observer),
            boot=environment.boot(observer),
            server=self._read_server(order),
            upstream=self._watch.read(),
        )

    def _look_back(self, order: BatchOrder) -> _Sight | None:
        """Look after a transaction; None where the target does not answer any more."""
        environment, observer = self._scene.environment, self._scene.observer
        upstream = self._watch.read_if_there()
        try:
            return _Sight(
                server=self._read_server(order),
                objects=environment.count_objects(observer),
                boot=environment.boot(observer),
                upstream=upstream,
            )
        except (psycopg.Error, LabError):
            return None

    def _read_server(self, order: BatchOrder) -> Reading | None:
        if order.index not in self._scene.kept:
            return None
        environment = self._scene.environment
        environment.settle(self._measured)
        reading = environment.read_metrics(self._scene.observer, self._measured.info.backend_pid)
        self._ledger.count(reading)
        return reading

    def _batch(
        self,
        order: BatchOrder,
        before: _Sight,
        taken: Taken,
        after: _Sight | None,
        noise: HostNoise,
    ) -> Batch:
        kept = order.index in self._scene.kept and not taken.error and after is not None
        last = after.upstream if after else None
        return Batch(
            index=order.index,
            repetition=order.repetition,
            size=order.size,
            first=self._source.numbers(order)[0],
            published=len(self._source.tables),
            boot=before.boot,
            started_at=taken.started_at,
            objects=before.objects.total + before.objects.upstream,
            begin_ns=taken.begin_ns,
            statements_ns=taken.statements_ns,
            commit_ns=taken.commit_ns,
            noise=noise,
            server=self._of_sheet(before, after) if kept else None,
            purified=_moved(before.upstream, taken.middle) if kept else None,
            committed=_moved(taken.middle, last) if kept else None,
            swept=self._source.swept,
            error=taken.error,
            failed_at=taken.failed_at,
            void="" if taken.error else self._why_void(before, after),
        )

    def _of_sheet(self, before: _Sight, after: _Sight | None) -> Delta | None:
        """Return what moved in those of the target's counters that costs are made of."""
        delta = _moved(before.server, after.server if after else None)
        return delta and restricted(delta, self._scene.telling)

    def _why_void(self, before: _Sight, after: _Sight | None) -> str:
        if after is None:
            return "the server was lost at the end of the transaction"
        if before.boot != self._scene.boot or after.boot != before.boot:
            return "the server was restarted"
        changed = changed_counts(before.objects.by_type, after.objects.by_type)
        if changed:
            return f"{_CHANGED}: {changed}"
        if before.upstream is None or after.upstream is None:
            return "the upstream was lost, or restarted"
        return difference(before.upstream, after.upstream).void

    def _go_on(self, order: BatchOrder, taken: Taken, after: _Sight | None) -> None:
        """Bring about that the next transaction can be carried out, as far as that is possible."""
        if taken.lost:
            self._reconnect(order, taken.lost)
        elif after is None:
            raise LostError(f"the server was lost at the end of transaction {order.index}")
        elif after.boot != self._scene.boot:
            raise LostError(f"the server was restarted during transaction {order.index}")
        elif changed := changed_counts(self._scene.objects.by_type, after.objects.by_type):
            raise ChangedError(f"during transaction {order.index} {_CHANGED}: {changed}")
        elif taken.error:
            self._make_room(taken.error)

    def _reconnect(self, order: BatchOrder, lost: str) -> None:
        """Open the measured connection anew where the server is still the same.

        Raises
        ------
        LostError
            It is not, or the transaction before lost its connection, too.

        """
        why = f"transaction {order.index} broke off: {lost}"
        environment, observer = self._scene.environment, self._scene.observer
        interrupt(self._measured)
        self._measured.close()
        again = self._lost == order.index - 1 > 0
        if again or not answers(observer):
            raise LostError(why)
        self._lost = order.index
        try:
            if environment.boot(observer) != self._scene.boot:
                raise LostError(f"{why}; the server was restarted")
            self._measured = self._connected()
        except (psycopg.Error, LabError) as error:
            raise LostError(f"{why}; {sentences(error)}") from error
        self._tell(f"the measured connection was opened anew after transaction {order.index}")

    def _make_room(self, error: str) -> None:
        """Raise the limit that ``error`` names, if it names one, for the transactions to come."""
        environment, scene = self._scene.environment, self._scene
        failure = as_error(error)
        if environment.trouble(failure) is not Trouble.LIMIT:
            return
        objects = scene.objects.total + len(self._source.tables)
        raised = environment.make_room(failure, objects)
        if raised:
            before, after = raised
            self._tell(f"{before.name} was raised on the way, from {before.value} to {after.value}")

    def _tell_failure(self, batch: Batch, *, lost: bool) -> None:
        places = {0: "BEGIN", batch.size + 1: "COMMIT"}
        place = places.get(batch.failed_at or 0) or f"statement {batch.failed_at}"
        self._progress.say(f"{_named(batch)} failed at {place}: {batch.error}")
        # What a lost connection says is libpq's own, and about the target.
        known = None if lost else self._source.sourcing.diagnose(batch.error)
        if known and known.code not in self._explained:
            self._explained.add(known.code)
            self._progress.say(f"{known.what} {known.remedy}".strip())

    def _tell_void(self, batch: Batch) -> None:
        self._progress.say(f"{_named(batch)} does not count: {batch.void}.")

    def _tell(self, sentence: str) -> None:
        """Say ``sentence`` and take it down, once."""
        if self._ledger.note(sentence):
            self._progress.say(f"{sentence[:1].upper()}{sentence[1:].rstrip('.')}.")


def _named(batch: Batch) -> str:
    statements = "1 statement" if batch.size == 1 else f"{batch.size:,} statements"
    return f"Transaction {batch.index} ({statements})"


def restricted(delta: Delta, telling: frozenset[str]) -> Delta:
    """Return ``delta`` with the series of the names ``telling`` alone."""
    changes = tuple(change for change in delta.changes if change.name in telling)
    return msgspec.structs.replace(delta, changes=changes)


def as_error(text: str) -> psycopg.Error:
    """Return the error that ``text`` (SQLSTATE and message) tells of, as psycopg raises it."""
    found = re.match(r"([0-9A-Z]{5}) (.*)", text, re.DOTALL)
    if not found:
        return psycopg.OperationalError(text)
    try:
        return psycopg.errors.lookup(found[1])(found[2])
    except KeyError:
        return psycopg.DatabaseError(found[2])


def _moved(before: Reading | None, after: Reading | None) -> Delta | None:
    return difference(before, after) if before and after else None
