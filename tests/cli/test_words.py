"""Tasks that take several words, under both programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lab_driver import PROGRAM, Driver

from lab.cli.words import words_given

ROOT = Path(__file__).resolve().parents[2]


INVOKE = (sys.executable, "-m", "invoke", "--search-root", str(ROOT))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("env.set a=1 b=2", ("a=1", "b=2")),
        ("env.set --check a=1 --reset b c=3 --json", ("a=1", "c=3")),
        ("env.set --reset=b a=x.y=z", ("a=x.y=z",)),
        ("env.get a b env.set c=1", ("c=1",)),
        ("env.set a=1 env.get b", ("a=1",)),
        ("env.get a", ()),
        ("env.set a=", ("a=",)),
    ],
)
def test_words_are_told_from_flags_values_and_tasks(line: str, words: tuple[str, ...]) -> None:
    assert words_given(["ddl-lab", *line.split()], "env.set", {"--reset"}) == words


@pytest.mark.parametrize("program", [(str(PROGRAM),), INVOKE], ids=["ddl-lab", "invoke"])
def test_the_second_word_reaches_the_task(shared_driver: Driver, program: tuple[str, ...]) -> None:
    refused = subprocess.run(
        [*program, "env.set", "a=1", "b"],
        cwd=shared_driver.directory,
        env=shared_driver.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "'b' does not say" in refused.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("env.set",), "variables.nothing"),
        (("env.set", "a="), "variables.pair"),
        (("env.set", "a=1", "a=2"), "variables.twice"),
        (("env.set", "a=1"), "variables.none"),
        (("env.get", "a", "b"), "variables.none"),
        (("lab.seed", "--count", "1", "--no-self-checks"), "seed.one-build"),
        (("lab.seed", "--count", "1", "--by", "optimized"), "seed.one-build"),
    ],
)
def test_what_cannot_be_done_is_refused(
    shared_driver: Driver, words: tuple[str, ...], code: str
) -> None:
    refused = shared_driver.json(*words)
    assert refused.code == 2
    assert refused.error["code"] == code
