"""The flags of batches on the command line, and the one question that is asked at a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from batch_lab import SMALL, upstream_lab, upstream_of
from lab_driver import Driver
from terminal import Terminal


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (("session.measure", "--plan", "batches"), "measure.plan", "`batch`"),
        (
            ("session.measure", "--plan", "batch", "--statements", "create-table"),
            "measure.flag-of-other-plan",
            "--statements",
        ),
        (("session.measure", "--sizes", "1,3"), "measure.flag-of-other-plan", "--plan batch"),
        (("session.measure", "--grow"), "measure.flag-of-other-plan", "--plan batch"),
        (("measure.batch", "--sizes", "1,many"), "usage.number", "--sizes"),
        (("measure.batch", "--sizes", "0"), "usage.number", "--sizes"),
        (("measure.batch", "--repetitions", "0"), "usage.number", "--repetitions"),
        (("measure.batch", "--upstream-sweep", ","), "usage.list", "--upstream-sweep"),
        (("measure.batch", "--samples", "6"), "usage.command-line", "--samples"),
    ],
)
def test_what_cannot_be_is_refused(
    shared_driver: Driver, words: tuple[str, ...], code: str, named: str
) -> None:
    result = shared_driver.json(*words)
    assert (result.code, result.error["code"]) == (2, code)
    assert named in " ".join(result.error.values())
    assert not (shared_driver.workspace / ".lab/sessions").exists()


@pytest.mark.parametrize("words", [("session.measure", *SMALL), ("measure.batch", *SMALL[2:])])
def test_an_upstream_that_never_was_is_missing(
    shared_driver: Driver, words: tuple[str, ...]
) -> None:
    for more in ((), ("--check",), ("--grow",)):
        result = shared_driver.json(*words, *more)
        assert (result.code, result.error["code"]) == (3, "upstream.missing")
        assert "`upstream.up`" in result.error["next"]
    assert not (shared_driver.workspace / ".lab/sessions").exists()


@pytest.fixture(scope="module")
def small() -> Iterator[Driver]:
    """A workspace whose upstream publishes fewer tables than `SMALL` needs."""
    with upstream_lab(5) as made:
        yield made


def test_at_a_terminal_it_is_asked_whether_to_grow(small: Driver) -> None:
    words = ("measure.batch", *SMALL[2:])
    with Terminal(small, *words) as terminal:
        terminal.until("Add 3 to the upstream? [y/N]")
        terminal.type("\n")
        assert terminal.wait() == 4
    assert len(upstream_of(small).published()) == 5

    with Terminal(small, *words) as terminal:
        terminal.until("Add 3 to the upstream? [y/N]")
        terminal.type("y\n")
        assert terminal.wait() == 0, terminal.seen
    assert len(upstream_of(small).published()) == 8


def test_off_a_terminal_nothing_is_asked(small: Driver) -> None:
    refused = small.run("measure.batch", "--sizes", "9", "--repetitions", "1", stdin="y\n")
    assert refused.code == 4
    assert "[y/N]" not in refused.err + refused.out
    assert len(upstream_of(small).published()) < 9
