"""A configuration that is wrong: refused with file and line, before anything is done."""

from __future__ import annotations

import pytest
from lab_driver import Driver

KEY, VALUE, SYNTAX = "config.unknown-key", "config.wrong-value", "config.syntax"

FILES = [
    ("[measure]\n\nsampels = 3\n", KEY, "3: unknown setting `measure.sampels`", "measure.samples"),
    ("sampels = 3\n", KEY, "1: unknown setting `sampels`", "measure.samples"),
    ("# why\n[mesure]\nsamples = 3\n", KEY, "2: unknown setting `mesure`", "`measure`"),
    ("[measure]\nzzz = 3\n", KEY, "2: unknown setting `measure.zzz`", "measure.samples"),
    ("population = { kin = 'view' }\n", KEY, "1: unknown", "`population.kind`"),
    ("[measure]\r\nx = 3\r\n", KEY, "2: unknown setting `measure.x`", "measure.samples"),
    ("# c\n[measure]\n\nsamples = 'x'\n", VALUE, '4: `measure.samples` cannot be "x"', "30"),
    ("[measure]\nsamples = 0\n", VALUE, "2: `measure.samples` cannot be 0", "30"),
    ("measure = 3\n", VALUE, "1: `measure` cannot be 3", ""),
    ("[measure]\nstatements = 'x'\n", VALUE, "2: `measure.statements`", "create-view"),
    ("[postgres.settings]\na = '1'\nb = 3\n", VALUE, "3: `postgres.settings.b` cannot be 3", ""),
    ("[session]\nvcs = 'hg'\n", VALUE, '2: `session.vcs` cannot be "hg"', "auto"),
    ("[measure]\nprecision = nan\n", VALUE, "2: `measure.precision` cannot be nan", "0.03"),
    ("[measure]\nsamples = 3\nsamples = 4\n", SYNTAX, "3 is not valid TOML", ""),
    ("[measure\n", SYNTAX, "1 is not valid TOML", ""),
]

VARIABLES = [
    ("LAB_MEASURE_SAMPELS", "3", KEY, "LAB_MEASURE_SAMPELS", "LAB_MEASURE_SAMPLES"),
    ("LAB_NONSENSE", "3", KEY, "LAB_NONSENSE", ""),
    ("LAB_MEASURE_SAMPLES", "x", VALUE, "LAB_MEASURE_SAMPLES", "30"),
    ("LAB_MEASURE_SAMPLES", "3\nx = 4", VALUE, "LAB_MEASURE_SAMPLES", "30"),
    ("LAB_SESSION_VCS", "hg", VALUE, "LAB_SESSION_VCS", "auto"),
]


def refused(lab: Driver, *words: str, **variables: str) -> dict[str, str]:
    result = lab.json(*words, **variables)
    assert result.code == 2, result.out + result.err
    assert result.envelope["status"] == "failed"
    assert "Traceback" not in result.err
    assert result.error["what"] in result.err
    return result.error


@pytest.mark.parametrize(("text", "code", "place", "remedy"), FILES)
def test_a_file_that_is_wrong(
    shared_driver: Driver, text: str, code: str, place: str, remedy: str
) -> None:
    (shared_driver.directory / "lab.toml").write_text(text, newline="")

    error = refused(shared_driver, "lab.config")

    assert error["code"] == code
    assert f"lab.toml:{place}" in error["what"]
    assert remedy in error["next"]
    assert error["next"]


@pytest.mark.parametrize(("name", "value", "code", "what", "remedy"), VARIABLES)
def test_a_variable_that_is_wrong(
    shared_driver: Driver, name: str, value: str, code: str, what: str, remedy: str
) -> None:
    (shared_driver.directory / "lab.toml").unlink(missing_ok=True)

    error = refused(shared_driver, "lab.config", **{name: value})

    assert error["code"] == code
    assert what in error["what"]
    assert remedy in error["next"]


def test_a_choice_says_what_there_is_to_choose_from(shared_driver: Driver) -> None:
    (shared_driver.directory / "lab.toml").write_text("[population]\nkind = 'tabel'\n")

    assert "table, view, materialized-view, index" in refused(shared_driver, "lab.config")["why"]


def test_a_file_that_is_not_utf_8(shared_driver: Driver) -> None:
    (shared_driver.directory / "lab.toml").write_bytes(b"target = '\xff'\n")

    assert refused(shared_driver, "lab.config")["code"] == SYNTAX


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(shared_driver: Driver) -> None:
    (shared_driver.directory / "lab.toml").write_bytes(b"\xef\xbb\xbf[measure]\r\nsamples = 7\r\n")

    settings = {each["key"]: each for each in shared_driver.json("lab.config").data["settings"]}

    assert settings["measure.samples"]["value"] == 7
    assert settings["measure.samples"]["source"] == "lab.toml:2"


def test_a_variable_takes_precedence_over_the_file_and_both_are_named(
    shared_driver: Driver,
) -> None:
    (shared_driver.directory / "lab.toml").write_text("[measure]\nsamples = 7\nwarmups = 1\n")

    shown = shared_driver.json("lab.config", LAB_MEASURE_SAMPLES="9").data["settings"]

    settings = {each["key"]: (each["value"], each["source"]) for each in shown}
    assert settings["measure.samples"] == (9, "environment LAB_MEASURE_SAMPLES")
    assert settings["measure.warmups"] == (1, "lab.toml:3")
    assert settings["population.count"] == (None, "default")


@pytest.mark.parametrize("task", ["session.measure", "env.start", "lab.up", "session.brief"])
def test_every_task_that_reads_it_refuses_it_and_makes_nothing(
    shared_driver: Driver, task: str
) -> None:
    (shared_driver.directory / "lab.toml").write_text("[measure]\nsampels = 3\n")

    refused(shared_driver, task)

    made = sorted(path.name for path in shared_driver.directory.iterdir())
    assert [name for name in made if name != "lab.toml"] in ([], [".lab"])
    assert not (shared_driver.directory / ".lab" / "sessions").exists()


def test_a_target_that_does_not_exist(shared_driver: Driver) -> None:
    (shared_driver.directory / "lab.toml").write_text('target = "postgrse"\n')

    error = refused(shared_driver, "env.status")

    assert error["code"] == "target.unknown"
    assert "postgres" in error["next"]
