"""How outcomes and errors are shown: text for people, one JSON envelope for programs."""

from __future__ import annotations

import re
import sys
import textwrap
import traceback
from pathlib import Path
from typing import Any

from lab.core.errors import LabError
from lab.core.files import encode
from lab.core.results import Outcome, Status, Step, recap

SCHEMA_VERSION = 1
_PROGRAMS = ("invoke", "inv", "ddl-lab")


def envelope(
    task: str,
    outcome: Outcome | None,
    error: BaseException | None,
    exit_code: int,
    check: bool,
    duration_ns: int,
) -> bytes:
    """Return the one JSON document that ``--json`` prints, on success and on failure."""
    shown = outcome or Outcome(status=Status.FAILED)
    return encode(
        {
            "schema_version": SCHEMA_VERSION,
            "task": task,
            "status": shown.status,
            "check": check,
            "exit_code": exit_code,
            "summary": shown.summary,
            "steps": shown.steps,
            "warnings": shown.warnings,
            "hint": _by_name(shown.hint),
            "data": shown.data,
            "error": None if error is None else _error_fields(task, error),
            "duration_ns": duration_ns,
        }
    )


def for_people(outcome: Outcome) -> str:
    """Return what an outcome says to a person."""
    parts = []
    if outcome.steps:
        width = max(len(step.name) for step in outcome.steps)
        parts += [_step_line(step, width) for step in outcome.steps]
        parts.append(f"recap: {recap(outcome.steps)}")
    if outcome.text:
        parts += ["", outcome.text] if parts else [outcome.text]
    if outcome.summary:
        parts += ["", outcome.summary] if parts else [outcome.summary]
    parts += [f"warning: {warning}" for warning in outcome.warnings]
    if outcome.hint and outcome.failure is None:
        parts.append(f"next: {_by_name(outcome.hint)}")
    return "\n".join(parts)


def error_for_people(task: str, error: BaseException, *, debug: bool) -> str:
    """Return what happened, why, and what to do next."""
    fields = _error_fields(task, error)
    lines = [f"error: {fields['what']}"]
    for label in ("why", "next"):
        if fields[label]:
            lines.append(
                textwrap.indent(fields[label], "        ").replace(
                    "        ", f"  {label + ':':<6}", 1
                )
            )
    if debug:
        lines += ["", "".join(traceback.format_exception(error)).rstrip()]
    return "\n".join(lines)


def _error_fields(task: str, error: BaseException) -> dict[str, Any]:
    if isinstance(error, LabError):
        remedy = _by_name(error.remedy)
        return {"code": error.code, "what": error.what, "why": error.why, "next": remedy}
    if isinstance(error, KeyboardInterrupt):
        # A task that keeps nothing on the way says so in a note (PEP 678).
        own = _by_name(" ".join(getattr(error, "__notes__", ())))
        return {
            "code": "interrupted",
            "what": f"Interrupted{f' by {error}' if str(error) else ''}.",
            "why": "",
            "next": own
            or "Everything recorded so far is kept. Run the same command again "
            f"(`{_program()} {task}`): it goes on from there.",
        }
    return {
        "code": "unexpected",
        "what": f"{type(error).__name__}: {error}",
        "why": "This is a fault of the lab itself.",
        "next": f"Run `{_program()} {task} --debug` for the traceback, and report it.",
    }


def _program() -> str:
    """Return the name of the program that was called: ``invoke`` or ``ddl-lab``."""
    name = Path(sys.argv[0]).name
    return name if name in _PROGRAMS else _PROGRAMS[0]


def _by_name(text: str) -> str:
    """Return advice with the commands in it as they can be called from here."""
    return re.sub(r"\binvoke (?=[a-z]+\.[a-z]+)", f"{_program()} ", text)


def _step_line(step: Step, width: int) -> str:
    line = f"{step.status.value:<12}  {step.name:<{width}}  {step.why}".rstrip()
    return "\n".join([line, *(f"{'':<14}{change}" for change in step.diff)])
