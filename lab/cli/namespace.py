"""The tasks, as one Invoke collection."""

from __future__ import annotations

from types import ModuleType

from invoke.collection import Collection
from invoke.tasks import Task

from lab.cli import env, lab, log, prompt, session


def _collection(name: str, module: ModuleType) -> Collection:
    made = Collection(name)
    for value in vars(module).values():
        if isinstance(value, Task):
            made.add_task(value)
    return made


def _namespace() -> Collection:
    made = Collection()
    for name, module in (
        ("session", session),
        ("lab", lab),
        ("env", env),
        ("log", log),
        ("prompt", prompt),
    ):
        made.add_collection(_collection(name, module))
    return made


namespace = _namespace()
