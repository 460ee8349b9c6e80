"""Reading the configuration, with the origin of each value.

Order of precedence: flag, environment (``LAB_SECTION_KEY``), ``lab.toml``, default.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, get_args, get_type_hints

import msgspec

from lab.core.config import Config
from lab.core.errors import UsageError
from lab.core.files import explain
from lab.core.nearest import nearest

PREFIX = "LAB_"
# Variables of the lab that are not configuration: the crash tests' kill point and the tests' own.
_RESERVED = ("LAB_KILL_AT", "LAB_TEST_")


class Origin(msgspec.Struct, frozen=True):
    """One setting, its value as JSON would show it, and where it came from."""

    key: str
    value: Any
    source: str


class LoadedConfig(msgspec.Struct, frozen=True):
    """A configuration and the origin of each of its values."""

    config: Config
    origins: tuple[Origin, ...]


def load_config(
    path: Path,
    *,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> LoadedConfig:
    """Read ``path`` (which need not exist) and put environment and flags on top.

    Parameters
    ----------
    flags:
        Dotted keys and their values; None means that the flag was not given.

    Raises
    ------
    UsageError
        An unknown key (the nearest known one is named), a wrong type, or no TOML at all; with file
        and line where the fault is in the file.

    """
    environment = os.environ if environment is None else environment
    text = _read(path)
    merged = _parse(path, text)
    sources: dict[str, str] = {}
    for key, _ in _leaves(merged):
        line = _line_of(text, key)
        sources[key] = f"{path.name}:{line}" if line else path.name
    _decode(merged, lambda key: f"{path}:{_line_of(text, key) or 1}")

    for name, raw in sorted(environment.items()):
        if not name.startswith(PREFIX) or name.startswith(_RESERVED):
            continue
        key = _key_of_variable(name)
        _put(merged, key, _from_text(key, raw))
        sources[key] = f"environment {name}"
        _decode(merged, _always(f"environment variable {name}"))
    for key, value in (flags or {}).items():
        if value is not None:
            _put(merged, key, value)
            sources[key] = f"flag --{key.rpartition('.')[2].replace('_', '-')}"
            _decode(merged, _always(sources[key]))

    config = msgspec.convert(merged, Config)
    origins = tuple(
        Origin(key, value, sources.get(key, "default"))
        for key, value in _leaves(msgspec.to_builtins(config))
    )
    return LoadedConfig(config, origins)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 text.",
            code="config.syntax",
            why=str(error),
            remedy="Save it as UTF-8.",
        ) from error
    except OSError as error:
        raise explain(error, path, "reading") from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"\(at line ([0-9]+)", str(error))
        raise UsageError(
            f"{path}:{line[1] if line else len(text.splitlines())} is not valid TOML.",
            code="config.syntax",
            why=f"{error}.",
            remedy="Correct that line, then run the command again.",
        ) from error


def _decode(values: dict[str, Any], place: Callable[[str], str]) -> None:
    try:
        msgspec.convert(values, Config)
    except msgspec.ValidationError as error:
        _refuse(str(error), values, place)


def _refuse(message: str, values: dict[str, Any], place: Callable[[str], str]) -> NoReturn:
    found = re.search(r" - at `\$\.?(.*?)`$", message)
    at = found[1] if found else ""
    parent = re.sub(r"\[.*?\]", "", at)
    unknown = re.match(r"Object contains unknown field `(.*?)`", message)
    if unknown:
        key = f"{parent}.{unknown[1]}".lstrip(".")
        near = _nearest(key)
        raise UsageError(
            f"{place(key)}: unknown setting `{key}`.",
            code="config.unknown-key",
            why="Settings that nothing reads would be silently without effect.",
            remedy=f"Did you mean `{near}`?" if near else f"Known: {', '.join(_beside(key))}.",
        )
    key, value = _culprit(parent, values)
    expected = message[: found.start()] if found else message
    raise UsageError(
        f"{place(key)}: `{key}` cannot be {_shown(value)}.",
        code="config.wrong-value",
        why=_in_words(parent, expected),
        remedy=f"Correct it, or leave it out{_default(parent)}.",
    )


def _always(place: str) -> Callable[[str], str]:
    return lambda _key: place


def _nearest(key: str) -> str:
    """Return the known setting or section whose own name is nearest to that of ``key``, or ""."""
    for candidates in (_beside(key), known_keys()):
        names = {each.rpartition(".")[2]: each for each in candidates}
        near = nearest(key.rpartition(".")[2], names)
        if near:
            return names[near]
    return ""


def _beside(key: str) -> list[str]:
    """Return the settings and sections that may stand where ``key`` stands."""
    section = key.rpartition(".")[0]
    return [each for each in known_keys() if each.rpartition(".")[0] == section]


def _default(key: str) -> str:
    """Return what holds where ``key`` is left out, as the end of a sentence; empty if nothing."""
    value = dict(_leaves(msgspec.to_builtins(Config()))).get(key)
    return f": the default is {_shown(value)}" if value not in (None, {}) else ""


def _culprit(key: str, values: dict[str, Any]) -> tuple[str, Any]:
    """Return the setting ``key``, or that of its own names whose value is wrong, and the value."""
    value: Any = values
    for part in key.split("."):
        value = value[part]
    if key in _MAPPINGS and isinstance(value, dict):
        wrong = [name for name, each in value.items() if not isinstance(each, str)]
        return f"{key}.{wrong[0]}", value[wrong[0]]
    return key, value


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    return (
        msgspec.json.encode(value).decode()
        if isinstance(value, str | int | list | tuple)
        else str(value)
    )


def _in_words(key: str, expected: str) -> str:
    """Say what a setting takes, in the words of TOML."""
    choices = re.match(r"Invalid enum value", expected)
    if choices:
        return f"It is one of {', '.join(_choices(key))}."
    if "matching regex" in expected:
        return (
            "It is a name of at most 63 lower-case letters, digits and underscores, no digit first."
        )
    for term, word in _TERMS.items():
        expected = expected.replace(f"`{term}`", word)
    return f"{expected}."


_TERMS = {
    "object": "a table",
    "array": "a list",
    "str": "text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}


def _choices(key: str) -> tuple[str, ...]:
    """Return what the setting ``key`` may be, for one that is a choice among texts."""
    kind: Any = Config
    for part in key.split("."):
        kind = get_type_hints(kind, include_extras=True)[part]
    return get_args(kind)


def known_keys() -> list[str]:
    """Return the dotted names of all settings and sections."""
    sections = [field.name for field in msgspec.structs.fields(Config)]
    return sections + [key for key, _ in _leaves(msgspec.to_builtins(Config()))]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and (value or key in _SECTIONS) and key not in _MAPPINGS:
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


_SECTIONS = frozenset(field.name for field in msgspec.structs.fields(Config)) - {"target"}
# Settings whose value is a table of names that the lab does not know.
_MAPPINGS = frozenset({"postgres.settings", "materialize.variables"})


def _line_of(text: str, key: str) -> int | None:
    """Return the line on which ``key`` (or, failing that, its table) is set in TOML ``text``."""
    section = key.rpartition(".")[0]
    table, table_line = "", None
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[([^\[\]]+)\]", line)
        if header:
            table = header[1].replace(" ", "").replace('"', "")
            if table == key:
                table_line = number
            continue
        assigned = re.match(r"""\s*["']?([\w.-]+)["']?\s*=""", line)
        if assigned and f"{table}.{assigned[1]}".lstrip(".") == key:
            return number
        if assigned and table == "" and assigned[1] == section:
            table_line = number
    return table_line


def _key_of_variable(name: str) -> str:
    wanted = name.removeprefix(PREFIX).lower()
    keys = {key.replace(".", "_"): key for key in known_keys() if key not in _SECTIONS | _MAPPINGS}
    if wanted in keys:
        return keys[wanted]
    near = nearest(wanted, keys)
    raise UsageError(
        f"Environment variable {name} names no setting.",
        code="config.unknown-key",
        why="Variables that begin with LAB_ are settings of the lab.",
        remedy=f"Did you mean {PREFIX}{near.upper()}?" if near else "Unset it.",
    )


def _from_text(key: str, raw: str) -> Any:
    """Read a value of an environment variable as TOML would, a bare word as text."""
    if key == "measure.statements":
        return [part.strip() for part in raw.split(",") if part.strip()]
    try:
        read = tomllib.loads(f"value = {raw}")
    except tomllib.TOMLDecodeError:
        return raw
    return read["value"] if len(read) == 1 else raw


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[name] = value
