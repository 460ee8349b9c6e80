"""SQL as tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass

from standin.errors import SqlError

_PATTERN = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*|/\*.*?\*/)
  | (?P<string>[eE]?'(?:[^']|'')*'|\$\$.*?\$\$)
  | (?P<quoted>"(?:[^"]|"")*")
  | (?P<number>\d+(?:\.\d+)?)
  | (?P<parameter>\$\d+)
  | (?P<word>[A-Za-z_][A-Za-z0-9_$]*)
  | (?P<operator>::|<>|<=|>=|!=|\|\||->>|->|=>|!~|[-+*/%=<>~.,;()\[\]:?!@#&|^])
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Token:
    """A token: ``word``, ``quoted``, ``string``, ``number``, ``parameter`` or ``operator``.

    ``text`` is as it was written, ``value`` what it means: folded, unquoted.
    """

    kind: str
    text: str
    start: int
    end: int

    @property
    def value(self) -> str:
        if self.kind == "word":
            return self.text.lower()
        if self.kind == "quoted":
            return self.text[1:-1].replace('""', '"')
        if self.kind == "string":
            text = self.text.lstrip("eE")
            return text[2:-2] if text.startswith("$$") else text[1:-1].replace("''", "'")
        return self.text


def tokenize(sql: str) -> list[Token]:
    """Return the tokens, without blanks and comments."""
    tokens, position = [], 0
    while position < len(sql):
        found = _PATTERN.match(sql, position)
        if found is None:
            raise SqlError(f"unexpected character in input: {sql[position]}", "42601")
        if found.lastgroup != "space":
            tokens.append(Token(found.lastgroup or "", found[0], found.start(), found.end()))
        position = found.end()
    return tokens


def split(sql: str) -> list[tuple[str, list[Token]]]:
    """Return each statement's text and tokens, empty ones left out."""
    statements: list[tuple[str, list[Token]]] = []
    current: list[Token] = []
    for token in [*tokenize(sql), Token("operator", ";", len(sql), len(sql))]:
        if token.text != ";":
            current.append(token)
        elif current:
            statements.append((sql[current[0].start : current[-1].end], current))
            current = []
    return statements
