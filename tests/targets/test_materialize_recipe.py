"""How environmentd is launched, and what of a launch is written down to be done again."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lab.targets.materialize import recipe
from lab.targets.materialize.ports import Ports, known_listeners
from lab.targets.materialize.processes import argument
from lab.targets.materialize.state import StateFiles

PORTS = Ports.from_first(7001)
FILES = StateFiles(Path("/somewhere/mzdata"))
STATE = recipe.state_arguments(FILES, "postgres://m@127.0.0.1:5/m", PORTS, "/listeners.json")

NAMES = st.sampled_from([*STATE, "--bootstrap-role", "--secrets-controller", "--unsafe-mode"])
VALUES = st.text("abc=-/:; ", max_size=12).filter(lambda text: not text.startswith("-"))
FLAGS = st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=12)


def as_words(flags: list[tuple[str, str, bool]]) -> list[str]:
    words: list[str] = []
    for name, value, apart in flags:
        words += [name, value] if apart else [f"{name}={value}"]
    return words


@given(FLAGS, NAMES)
def test_the_last_of_repeated_flags_wins(flags: list[tuple[str, str, bool]], name: str) -> None:
    values = [value for each, value, _ in flags if each == name]

    assert argument(as_words(flags), name) == (values[-1] if values else "")


@given(FLAGS)
def test_what_follows_from_a_state_is_left_out_of_a_recipe_and_nothing_else(
    flags: list[tuple[str, str, bool]],
) -> None:
    kept = recipe.recorded(as_words(flags), {}, STATE).arguments

    assert list(kept) == as_words([each for each in flags if each[0] not in STATE])


@given(FLAGS)
def test_a_recipe_launches_on_todays_state(flags: list[tuple[str, str, bool]]) -> None:
    """Whatever the state was on which it was recorded."""
    known = recipe.recorded(as_words(flags), {}, STATE)

    words = [*known.arguments, *recipe.as_arguments(STATE)]

    assert {name: argument(words, name) for name in STATE} == STATE


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "MZ_LICENSE_KEY",
                "MZ_APP_PASSWORD",
                "MZ_ROOT_CREDENTIAL",
                "MZ_SECRET_THING",
                "RUST_TOKEN",
                "AWS_SECRET_ACCESS_KEY",
                "HOME",
                "DDL_LAB_LAUNCH",
                "LAB_PASSWORD",
                "MZ_SOFT_ASSERTIONS",
                "MZ_SYSTEM_PARAMETER_DEFAULT",
                "RUST_BACKTRACE",
                "LD_LIBRARY_PATH",
            ]
        ),
        st.just("value"),
    )
)
def test_of_the_variables_no_secret_is_recorded(variables: dict[str, str]) -> None:
    kept = recipe.recorded([], variables, STATE).variables

    harmless = {"MZ_SYSTEM_PARAMETER_DEFAULT", "RUST_BACKTRACE", "LD_LIBRARY_PATH"}
    assert set(kept) == set(variables) & harmless


def test_all_that_listens_does_so_on_loopback_alone() -> None:
    addresses = [value for flag, value in STATE.items() if flag.endswith("listen-addr")]
    listeners = json.dumps(PORTS.listeners())

    assert addresses == ["127.0.0.1", "127.0.0.1:7005"]
    assert STATE["--persist-pubsub-url"] == "http://127.0.0.1:7005"
    assert "0.0.0.0" not in listeners
    assert [f"127.0.0.1:{port}" in listeners for port in range(7001, 7005)] == [True] * 4


def test_the_checkouts_own_listeners_are_moved_and_otherwise_kept(tmp_path: Path) -> None:
    def listener(port: int) -> dict[str, object]:
        return {"addr": f"0.0.0.0:{port}", "routes": {"a_newer_route": True}}

    shipped = {
        "sql": {"external": listener(6875), "internal": listener(6877)},
        "http": {"external": listener(6876), "internal": listener(6878)},
    }
    file = tmp_path / "no_auth.json"
    file.write_text(json.dumps(shipped))

    wanted = known_listeners(file, PORTS)

    assert wanted["sql"]["external"]["addr"] == "127.0.0.1:7001"
    assert wanted["http"]["external"]["addr"] == "127.0.0.1:7002"
    assert wanted["sql"]["internal"]["addr"] == "127.0.0.1:7003"
    assert wanted["http"]["internal"]["addr"] == "127.0.0.1:7004"
    assert wanted["http"]["internal"]["routes"] == {"a_newer_route": True}


def test_without_a_listener_file_the_labs_own_stands_in(tmp_path: Path) -> None:
    assert known_listeners(tmp_path / "none.json", PORTS) == PORTS.listeners()
    (tmp_path / "broken.json").write_text("{")
    assert known_listeners(tmp_path / "broken.json", PORTS) == PORTS.listeners()
