"""The front: wrong command lines, the envelope, exit codes, and streams that go away."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from lab_driver import PROGRAM, Driver, make_driver, remove_driver

ENVELOPE = {
    "schema_version",
    "task",
    "status",
    "check",
    "exit_code",
    "summary",
    "steps",
    "warnings",
    "hint",
    "data",
    "error",
    "duration_ns",
}

# Command lines that are wrong, each with its error's code and a word that the message must hold.
WRONG = [
    ("session.measure --samples abc", "usage.number", "--samples"),
    ("session.measure --samples 0", "usage.number", "--samples"),
    ("session.measure --samples -5", "usage.number", "'-5'"),
    ("session.measure --samples 1,0", "usage.number", "'1,0'"),
    ("session.measure --samples 99999", "measure.too-many-samples", "99,999"),
    ("session.measure --samples=", "usage.empty-value", "--samples"),
    ("session.measure --objects x", "usage.number", "--objects"),
    ("session.measure --objects -1", "usage.number", "--objects"),
    ("session.measure --statements nonsense", "statement.unknown", "nonsense"),
    ("session.measure --statements create-tabel --check", "statement.unknown", "create-tabel"),
    ("session.measure --statements ,", "usage.list", "--statements"),
    ("session.start --objects x", "usage.number", "--objects"),
    ("lab.seed", "seed.no-count", ""),
    ("lab.seed --count -3", "usage.number", "--count"),
    ("lab.seed --count abc", "usage.number", "--count"),
    ("lab.seed --count 3 --kind nonsense", "config.wrong-value", "--kind"),
    ("lab.seed --count 3 --schema x;drop", "config.wrong-value", "--schema"),
    ("env.verify --objects 1.5", "usage.number", "--objects"),
    ("env.logs --lines 0", "usage.number", "--lines"),
    ("env.logs --lines z", "usage.number", "--lines"),
    ("env.reset", "reset.no-reason", "reason"),
    ("env.reset --because=", "usage.empty-value", "--because"),
    ("log.show 99", "log.no-such-session", "99"),
    ("log.show abc", "usage.number", "abc"),
    ("log.show", "usage.command-line", "NUMBER"),
    ("prompt.add", "prompt.empty", ""),
    ("prompt.resolve N99 --by x", "prompt.unknown-item", "N99"),
    ("prompt.resolve N99", "prompt.no-reason", ""),
    ("prompt.resolve", "usage.command-line", "ITEM"),
    ("session.measure --sampels 3", "usage.command-line", "--sampels"),
    ("session.measure --samples", "usage.command-line", "--samples"),
    ("session.measure extra", "usage.command-line", "extra"),
    ("session.maesure", "usage.command-line", "session.maesure"),
    ("session.status --dry", "usage.dry", "--dry"),
]


@pytest.fixture(scope="module")
def bare() -> Iterator[Driver]:
    """A place in which nothing was ever started."""
    made = make_driver()
    yield made
    remove_driver(made)


@pytest.mark.parametrize(("line", "code", "word"), WRONG, ids=[each[0] for each in WRONG])
def test_a_wrong_command_line_is_refused(bare: Driver, line: str, code: str, word: str) -> None:
    result = bare.json(*line.split())

    assert result.code == 2, result.err
    assert set(result.envelope) == ENVELOPE
    assert result.envelope["status"] == "failed"
    assert result.envelope["exit_code"] == 2
    assert result.error["code"] == code
    assert word in result.error["what"]
    assert result.error["next"], "what to do next is not said"
    assert result.error["what"] in result.err
    assert "Traceback" not in result.err
    assert not (bare.workspace / ".lab/sessions/current.json").exists()


@pytest.mark.parametrize("line", [WRONG[0][0], WRONG[-4][0]])
def test_without_json_a_refusal_leaves_standard_output_empty(bare: Driver, line: str) -> None:
    result = bare.run(*line.split())

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert "\n  next: " in result.err


def test_the_nearest_flag_and_task_are_named(bare: Driver) -> None:
    assert "--samples" in bare.json("session.measure", "--sampels", "3").error["next"]
    assert "session.measure" in bare.json("session.maesure").error["next"]


@pytest.mark.parametrize(
    "line", ["-T abc --list", "--list-format=x --list", "--help nonsense", "--nonsense"]
)
def test_what_stands_before_the_tasks_is_refused_alike(bare: Driver, line: str) -> None:
    result = bare.run(*line.split())

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert "Traceback" not in result.err


def test_text_that_is_no_text(bare: Driver) -> None:
    done = subprocess.run(
        [PROGRAM, "session.start", b"--goal", b"caf\xe9"],
        cwd=bare.directory,
        env=bare.environment(),
        capture_output=True,
        check=False,
    )

    assert done.returncode == 2
    assert b"--goal is not UTF-8 text" in done.stderr


@pytest.mark.parametrize("task", ["session.measure", "log.show", "prompt.resolve"])
def test_help_of_a_task_holds_an_example(bare: Driver, task: str) -> None:
    assert f"  {task} " in bare.ok("--list").out
    assert f"Example: invoke {task}" in bare.ok(task, "--help").out


def test_a_reader_that_has_seen_enough_is_no_error(bare: Driver) -> None:
    for words in (["--list"], ["lab.config"], ["lab.config", "--json"], ["env.logs", "--lines=x"]):
        process = subprocess.Popen(
            [PROGRAM, *words],
            cwd=bare.directory,
            env=bare.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        process.stderr.close()
        assert process.wait(30) == (2 if words[0] == "env.logs" else 0), errors
        assert b"Traceback" not in errors
        assert b"Exception ignored" not in errors


def test_output_that_cannot_be_written_is_said(bare: Driver) -> None:
    for words in (["--list"], ["lab.config"], ["lab.config", "--json"]):
        with open("/dev/full", "w") as full:  # noqa: PTH123
            done = subprocess.run(
                [PROGRAM, *words],
                cwd=bare.directory,
                env=bare.environment(),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 3
        assert done.stderr.startswith("error: Standard output cannot be written.")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(bare: Driver, closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"{PROGRAM}" lab.config --json {closed}'],
        cwd=bare.directory,
        env=bare.environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert (">&-" in closed.split()) == (done.stdout == "")


def test_tasks_that_only_look_make_nothing(bare: Driver) -> None:
    before = sorted(bare.directory.rglob("*"))

    for words in (
        "session.status",
        "session.brief",
        "env.status",
        "lab.config",
        "lab.status",
        "log.list",
        "log.verify",
        "prompt.list",
        "env.logs",
        "session.measure --check",
        "lab.up --check --diff",
        "env.start --check",
        "env.stop --check",
    ):
        assert bare.json(*words.split()).code == 0, words

    assert sorted(bare.directory.rglob("*")) == before


@pytest.mark.parametrize(
    "task", ["session.note --text x", "session.finish", "session.abort", "session.finish --check"]
)
def test_without_a_session(bare: Driver, task: str) -> None:
    result = bare.json(*task.split())

    assert result.code == 4
    assert result.error["code"] == "session.none"
    assert "session.start" in result.error["next"]


def test_colour_is_kept_out_of_a_pipe(bare: Driver) -> None:
    for words in (["--list"], ["lab.config"], ["log.show", "99"]):
        result = bare.run(*words)
        assert "\x1b" not in result.out + result.err
