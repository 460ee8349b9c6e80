"""Tasks that take several words: ``env.set max_tables=5000 max_sources=300``.

Invoke's parser knows positional arguments in a fixed number only. Such a task declares as many of
them as words were given for it on the command line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

from invoke.parser.argument import Argument
from invoke.tasks import Task

# As in `NAME` and `NAME=VALUE`; the names of tasks have a dot.
_WORD = re.compile(r"[^-.=\s][^.=\s]*(?:=.*)?", re.DOTALL)


class WordsTask(Task[Any]):
    """A task whose argument ``words`` takes all words that follow the task's name.

    ``full_name`` is the task's full name, such as ``env.set``. The first word is the value of the
    argument itself, the further ones those of arguments named ``WORDS-2``, ``WORDS-3``, …
    """

    def __init__(self, *args: Any, full_name: str, words: str, **options: Any) -> None:
        self.full_name = full_name
        self.words = words
        super().__init__(*args, **options)

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """Return the arguments, those for the words of this command line among them."""
        arguments = super().get_arguments(ignore_unknown_help)
        valued = {f"--{name}" for each in arguments if each.takes_value for name in each.names}
        number = len(words_given(sys.argv, self.full_name, valued))
        own = next(each for each in arguments if each.name == self.words)
        own.positional = number > 0
        further = (f"{self.words}-{count}" for count in range(2, number + 1))
        return [*arguments, *(Argument(name=name, positional=True) for name in further)]


def words_given(argv: Sequence[str], task: str, valued: set[str]) -> tuple[str, ...]:
    """Return the words for ``task`` in ``argv``: up to another task, and no flags nor their values.

    ``valued`` are the flags that take the word after them.
    """
    if task not in argv:
        return ()
    words: list[str] = []
    rest = iter(argv[argv.index(task) + 1 :])
    for word in rest:
        if word in valued:
            next(rest, None)
        elif _WORD.fullmatch(word):
            words.append(word)
        elif not word.startswith("-"):
            break
    return tuple(words)


def gathered(given: dict[str, Any], words: str) -> tuple[str, ...]:
    """Take the words out of the arguments ``given`` to a task, in their order."""
    names = [name for name in given if name == words or re.fullmatch(rf"{words}-[0-9]+", name)]
    return tuple(value for name in names if (value := given.pop(name)) is not None)
