"""The tasks, as one Invoke collection."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from invoke.collection import Collection
from invoke.tasks import Task

from lab.cli import build, env, lab, log, measure, metrics, prompt, session, upstream, variables


def _collection(name: str, modules: Sequence[ModuleType]) -> Collection:
    made = Collection(name)
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, Task):
                made.add_task(value)
    return made


def _namespace() -> Collection:
    made = Collection()
    for name, *modules in (
        ("session", session),
        ("lab", lab),
        ("env", env, variables),
        ("build", build),
        ("upstream", upstream),
        ("measure", measure),
        ("metrics", metrics),
        ("log", log),
        ("prompt", prompt),
    ):
        made.add_collection(_collection(name, modules))
    return made


namespace = _namespace()
