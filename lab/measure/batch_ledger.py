"""What a batch benchmark has gathered so far: transactions, readings, and what is to be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from lab.measure.batch_record import Batch
from lab.metrics.reading import Reading

_MOST_UNKNOWN = 20
_LONGEST_TEXT = 1_000


class Ledger:
    """Grows while a benchmark runs; ``batches`` are in the order in which they were carried out."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.shapes: dict[str, str] = {}
        self.readings = 0
        self.readings_ns = 0
        self.readings_bytes = 0
        self._unknown: dict[str, None] = {}
        self._notes: dict[str, None] = {}

    @property
    def unknown(self) -> tuple[str, ...]:
        """The queries seen upstream that fit no kind, each once."""
        return tuple(self._unknown)[:_MOST_UNKNOWN]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the figures should know, each sentence once."""
        return tuple(self._notes)

    def note(self, sentence: str) -> bool:
        """Take down ``sentence``; say whether it is a new one."""
        new = sentence not in self._notes
        self._notes[sentence] = None
        return new

    def count(self, reading: Reading) -> None:
        """Take down what reading the target's counters took, and what is to be known of them."""
        self.readings += 1
        self.readings_ns += reading.cost_ns
        self.readings_bytes += reading.bytes
        for sentence in reading.notes:
            self.note(sentence)

    def saw(self, shapes: Mapping[str, str], unknown: Sequence[str]) -> None:
        """Take down the queries that the upstream was seen to answer: one text of each shape."""
        for shape, text in shapes.items():
            self.shapes.setdefault(shape, text[:_LONGEST_TEXT])
        self._unknown |= dict.fromkeys(text[:_LONGEST_TEXT] for text in unknown)

    def require(self, tables: Mapping[int, frozenset[int]], made: frozenset[int]) -> list[Batch]:
        """Void, and return, what was committed and is not there all the same.

        ``tables`` are those of each transaction, by its index; ``made`` those that exist.
        """
        voided = []
        for place, batch in enumerate(self.batches):
            missing = len(tables.get(batch.index, made) - made)
            if batch.counts and missing:
                are = "is" if missing == 1 else "are"
                void = f"COMMIT was answered, but {missing:,} of its tables {are} not there"
                self.batches[place] = msgspec.structs.replace(batch, void=void)
                voided.append(self.batches[place])
        return voided
