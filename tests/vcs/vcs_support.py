"""What the tests of this folder share besides fixtures."""

from __future__ import annotations

from collections.abc import Callable

Run = Callable[..., str]

AUTHOR = '[user]\nname = "Test Author"\nemail = "author@example.org"\n'
