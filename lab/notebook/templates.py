"""The texts' templates: those of the workspace before the shipped ones, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lab
from lab.core.errors import PreconditionError
from lab.core.files import explained
from lab.core.workspace import Workspace


def shipped_templates() -> Path:
    """Return the folder of the shipped templates: in the package, or beside it in a checkout."""
    package = Path(lab.__file__).resolve().parent
    inside = package / "templates"
    return inside if inside.is_dir() else package.parent / "templates"


def render_template(workspace: Workspace, name: str, context: dict[str, Any]) -> str:
    """Render the template ``name`` with ``context``; a name that is not in it is an error.

    Raises
    ------
    PreconditionError
        The template is missing or wrong; with file and line.

    """
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        loader=jinja2.FileSystemLoader([workspace.templates, shipped_templates()]),
        undefined=jinja2.StrictUndefined,
        # Markdown, not HTML: escaping would spoil it, and texts are made safe where they come in.
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    try:
        return environment.get_template(name).render(context)
    except (jinja2.TemplateError, UnicodeDecodeError, TypeError) as error:
        raise PreconditionError(
            f"The template {_place(workspace, name, error)} cannot be used.",
            code="template.unusable",
            why=f"{type(error).__name__}: {error}",
            remedy=f"Correct it, or remove {name} from the workspace's templates folder to use the "
            "shipped one.",
        ) from error


def template_text(workspace: Workspace, name: str) -> str:
    """Return the text of the template ``name`` that `render_template` would render.

    Raises
    ------
    PreconditionError
        It cannot be read.

    """
    own = workspace.templates / name
    path = own if own.is_file() else shipped_templates() / name
    with explained(path, "reading"):
        return path.read_text(encoding="utf-8", errors="replace")


def _place(workspace: Workspace, name: str, error: Exception) -> str:
    own = workspace.templates / name
    line = getattr(error, "lineno", None)
    path = str(own) if own.exists() else name
    if line is None:
        traceback = error.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename.endswith(name):
                line = traceback.tb_lineno
            traceback = traceback.tb_next
    return f"{path}:{line}" if line else path
