"""Settings and logs: what is written is what is read."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.core.errors import UsageError
from lab.servers import launch, logs, settings

names = st.from_regex(r"[a-z_][a-z0-9_]{0,20}(\.[a-z_][a-z0-9_]{0,10})?", fullmatch=True).filter(
    lambda name: name not in settings.RESERVED
)
values = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "))


@given(st.dictionaries(names, values))
def test_settings_come_back(chosen):
    wanted = settings.wanted("main", 20000, chosen)
    text = settings.render(wanted)
    assert settings.parse(text) == wanted
    assert chosen.items() <= wanted.items()
    assert settings.differences(wanted, settings.parse(text)) == ()


@pytest.mark.parametrize("name", ["two words", "x = 1\ny", "", "a.b.c", "größe"])
def test_no_name_of_a_setting(name):
    with pytest.raises(UsageError):
        settings.wanted("main", 20000, {name: "1"})


@pytest.mark.parametrize("value", ["a\nfsync = off", "a\0b"])
def test_a_value_stays_on_its_line(value):
    with pytest.raises(UsageError):
        settings.wanted("main", 20000, {"work_mem": value})


@pytest.mark.parametrize("name", sorted(settings.RESERVED))
def test_reserved_settings(name):
    with pytest.raises(UsageError) as caught:
        settings.wanted("main", 20000, {name.upper(): "1"})
    assert caught.value.code == "config.reserved-setting"


def test_differences_are_lines():
    assert settings.differences({"a": "1", "b": "2"}, {"b": "3", "c": "4"}) == (
        "- a = 1",
        "- b = 2",
        "+ b = 3",
        "+ c = 4",
    )


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters="\n\r\v\f\x1c\x1d\x1e")),
                max_size=30), st.integers(0, 40))  # fmt: skip
def test_tail(lines, wanted):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.write_text("".join(f"{line}\n" for line in lines))
        expected = lines[-wanted:] if wanted else []
        assert logs.tail(path, wanted) == "\n".join(expected)


def test_tail_of_a_long_log(tmp_path):
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(50_000)))
    assert logs.tail(path, 3) == "line 49997\nline 49998\nline 49999"
    assert len(logs.tail(path, 20_000).splitlines()) == 20_000
    assert logs.tail(tmp_path / "none", 3) == ""


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("LOG:  database system is ready", ""),
        (
            "automatic recovery in progress\nredo starts at 0/1\n"
            "redo done at 0/2 system usage: CPU: user: 0.00 s, system: 0.01 s, elapsed: 12.34 s",
            "recovered after a crash; redo took 12.34 s",
        ),
        (
            "automatic recovery in progress\nredo is not required",
            "recovered after a crash; nothing to redo",
        ),
    ],
)
def test_what_is_said_of_recovery(log, said):
    assert launch.recovery(log) == said
