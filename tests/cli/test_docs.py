"""The reference in docs/ against the program: tasks, flags, settings, error codes, links."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
import pytest
from lab_driver import make_driver, remove_driver

from lab.cli.namespace import namespace
from lab.core import errors
from lab.core.config import Config
from lab.core.loading import PREFIX, known_keys

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
PAGES = [PROJECT / "README.md", PROJECT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
PAGES += [PROJECT / "logs/README.md", PROJECT / "benchmarks/README.md"]

# Described once for all tasks, at the beginning of the page.
COMMON = {"check", "debug", "help", "json"}
# Codes of the envelope for what is no error of the lab's own classes.
OTHERS = {"interrupted", "unexpected"}
SECTIONS = {field.name for field in msgspec.structs.fields(Config)} - {"target"}


@cache
def sections() -> dict[str, str]:
    """Return the text below each heading of tasks.md that names tasks, by task."""
    parts = re.split(r"^###? (.+)$", (DOCS / "tasks.md").read_text(), flags=re.MULTILINE)
    found = zip(parts[1::2], parts[2::2], strict=True)
    return {task: text for heading, text in found for task in heading.split(", ")}


@pytest.mark.parametrize("task", sorted(namespace.task_names))
def test_each_task_is_described_with_its_flags(task: str) -> None:
    text = sections()[task]
    missing = [
        argument.name
        for argument in namespace[task].get_arguments()
        if argument.name not in COMMON
        and f"--{argument.name.strip('_').replace('_', '-')}" not in text
        # As in `ddl-lab log.show 3`.
        and not (argument.positional and f"`ddl-lab {task} " in text)
    ]
    assert missing == []


def test_no_task_is_described_that_does_not_exist() -> None:
    named = {name for name in sections() if re.fullmatch(r"[a-z]+\.[a-z]+", name)}
    assert named == set(namespace.task_names)


def test_each_task_stands_in_the_table_of_contents() -> None:
    contents = (DOCS / "tasks.md").read_text().partition("\n## ")[0]
    listed = {
        f"{group}.{task}"
        for group, tasks in re.findall(r"^- \[([a-z]+)\.\*\]\(#[a-z]+\): (.+)$", contents, re.M)
        for task in tasks.split(", ")
    }
    assert listed == set(namespace.task_names)


@cache
def settings() -> dict[str, list[str]]:
    """Return the cells of the row of each setting in configuration.md."""
    rows = re.findall(r"^\| `([a-z_.]+)` \|(.+)\|$", (DOCS / "configuration.md").read_text(), re.M)
    return {key: [cell.strip() for cell in cells.split(" | ")] for key, cells in rows}


@pytest.mark.parametrize("key", sorted(set(known_keys()) - SECTIONS))
def test_each_setting_is_described_with_its_default_and_variable(key: str) -> None:
    _, default, variable, meaning = settings()[key]
    value: object = msgspec.to_builtins(Config())
    for part in key.split("."):
        value = value[part]

    assert meaning
    if default != "see below":
        assert _from_toml(default) == (list(value) if isinstance(value, tuple) else value)
    is_table = isinstance(value, dict)
    assert variable == ("none" if is_table else f"`{PREFIX}{key.replace('.', '_').upper()}`")


def _from_toml(cell: str) -> object:
    return None if cell == "unset" else tomllib.loads(f"x = {cell.strip('`')}")["x"]


@cache
def calls() -> dict[str, set[str]]:
    """Return the codes that lab/ gives to errors, each with what it is given to."""
    trees = [ast.parse(path.read_text()) for path in sorted((PROJECT / "lab").rglob("*.py"))]
    constants = dict(pair for tree in trees for pair in _constants(tree))
    found: dict[str, set[str]] = defaultdict(set)
    for tree in trees:
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            for keyword in (each for each in call.keywords if each.arg == "code"):
                for code in _codes(keyword.value, constants):
                    found[code].add(ast.unparse(call.func))
    return found


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for name in (each for each in node.targets if isinstance(each, ast.Name)):
                yield name.id, str(node.value.value)


def _codes(value: ast.expr, constants: dict[str, str]) -> Iterator[str]:
    if isinstance(value, ast.Constant):
        yield value.value
    elif isinstance(value, ast.Name) and value.id in constants:
        yield constants[value.id]
    elif isinstance(value, ast.JoinedStr):
        assert ast.unparse(value) == "f'vcs.no-{program}'", "a code that cannot be read off"
        yield from ("vcs.no-git", "vcs.no-jj")


@cache
def documented() -> dict[str, str]:
    """Return the exit code of each code in the table of tasks.md."""
    rows = re.findall(r"^\| (`.+?) \| ([0-9, ]+) \|.*\|$", sections()["Error codes"], re.M)
    return {code: number for codes, number in rows for code in re.findall(r"`([a-z.-]+)`", codes)}


def test_each_error_code_stands_in_the_table_and_no_other() -> None:
    assert set(documented()) == set(calls()) | OTHERS


@pytest.mark.parametrize("code", sorted(calls()))
def test_each_error_code_has_the_exit_code_of_its_class(code: str) -> None:
    classes = [getattr(errors, name) for name in calls()[code] if hasattr(errors, name)]
    expected = {each.exit_code for each in classes}

    assert {int(each) for each in documented()[code].split(", ")} >= expected
    assert len(documented()[code].split(", ")) == max(1, len(expected))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), target
        if anchor:
            assert anchor in _anchors(linked), target


@cache
def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_what_the_program_lists_is_what_is_described() -> None:
    lab = make_driver()
    try:
        listed = re.findall(r"^  ([a-z]+\.[a-z]+) ", lab.run("--list").out, re.M)
    finally:
        remove_driver(lab)
    assert set(listed) == set(namespace.task_names)
