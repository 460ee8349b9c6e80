"""The Docker engine of this host: reached, and asked for images."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from lab.core.errors import ExternalError, LabError, PreconditionError
from lab.core.progress import Progress

if TYPE_CHECKING:
    from docker import DockerClient

SOCKET = "unix:///var/run/docker.sock"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_REACH_S = 5.0
_SAY_EVERY_S = 5.0
_TIMEOUT_S = 120
"""For one answer of the engine; longer than a container may take to stop."""


@contextlib.contextmanager
def client() -> Iterator[DockerClient]:
    """Lend a connection to the engine of this host, as ``DOCKER_HOST`` says.

    Raises
    ------
    PreconditionError
        It is not on this host (``docker.remote``), or none answers (``docker.missing``).
    ExternalError
        It refused, or stopped answering (``docker.failed``).

    """
    address = os.environ.get("DOCKER_HOST") or SOCKET
    _require_local(address)
    try:
        _reach(address)
    except OSError as error:
        raise _missing(address, str(error)) from error
    import docker
    import requests

    try:
        opened = docker.from_env(timeout=_TIMEOUT_S)
    except docker.errors.DockerException as error:
        raise _missing(address, str(error)) from error
    try:
        yield opened
    except (requests.exceptions.RequestException, docker.errors.DockerException) as error:
        raise failed("do", "what the lab asked of it", error) from error
    finally:
        opened.close()


def is_likely() -> bool:
    """Say, without asking it, whether there may be an engine: one is named, or has its socket."""
    return bool(os.environ.get("DOCKER_HOST")) or Path(urlsplit(SOCKET).path).exists()


def image_id(engine: DockerClient, name: str) -> str:
    """Return the id of the image ``name`` that the engine holds; empty where it has none."""
    from docker.errors import ImageNotFound

    try:
        return str(engine.images.get(name).id)
    except ImageNotFound:
        return ""


def entrypoint(engine: DockerClient, name: str) -> tuple[str, ...]:
    """Return the entry point and the command of the image ``name``; empty where it is not held."""
    from docker.errors import ImageNotFound

    try:
        made_from = (engine.images.get(name).attrs or {})["Config"]
    except ImageNotFound:
        return ()
    return (*(made_from.get("Entrypoint") or ()), *(made_from.get("Cmd") or ()))


def require_image(engine: DockerClient, name: str, progress: Progress) -> str:
    """Return the id of the image ``name``; pull it where the engine does not hold it.

    Raises
    ------
    PreconditionError
        It cannot be pulled (``docker.no-image``).

    """
    held = image_id(engine, name)
    if held:
        return held
    problem = _pull(engine, name, progress)
    held = image_id(engine, name)
    if held and not problem:
        return held
    raise PreconditionError(
        f"The image {name} is not there.",
        code="docker.no-image",
        why=f"It could not be pulled: {problem or 'it is not what was pulled'}.",
        remedy=f"See whether the name is right; `docker pull {name}` gets it from where it is"
        " published, `docker load` reads one that was saved on another host.",
    )


def _pull(engine: DockerClient, name: str, progress: Progress) -> str:
    """Pull the image ``name``, saying every few seconds how far that is; return what failed."""
    from docker.errors import APIError
    from docker.utils import parse_repository_tag

    # Without a tag the engine would pull all that there are.
    repository, tag = parse_repository_tag(name)
    progress.say(f"Pulling the image {name} …")
    say_next = time.monotonic() + _SAY_EVERY_S
    layers: dict[str, tuple[int, int]] = {}
    try:
        for event in engine.api.pull(repository, tag=tag or "latest", stream=True, decode=True):
            if "error" in event:
                return str(event["error"])
            part = event.get("progressDetail") or {}
            if event.get("status") == "Downloading" and part.get("total"):
                layers[event["id"]] = (part["current"], part["total"])
            if time.monotonic() >= say_next and layers:
                say_next += _SAY_EVERY_S
                done, total = (sum(each) / 1e6 for each in zip(*layers.values(), strict=True))
                progress.say(f"Pulling {name}: {done:,.0f} of {total:,.0f} MB known so far …")
    except APIError as error:
        return str(error.explanation)
    return ""


def failed(doing: str, what: str, error: Exception) -> LabError:
    """Return the error for a call that the engine refused."""
    return ExternalError(
        f"Docker could not {doing} {what}.",
        code="docker.failed",
        why=str(getattr(error, "explanation", None) or error),
        remedy="The line above is what the engine says; run the command again once it is mended.",
    )


def _require_local(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme in ("unix", "http+unix"):
        return
    if parts.scheme in ("tcp", "http", "https") and parts.hostname in _LOOPBACK:
        return
    raise PreconditionError(
        "The Docker engine is not on this host.",
        code="docker.remote",
        why=f"DOCKER_HOST is {parts.scheme}://{parts.hostname or ''}: the lab reaches what it runs"
        " over loopback only.",
        remedy="Unset DOCKER_HOST, or set it to the socket of an engine on this host.",
    )


def _reach(address: str) -> None:
    """Connect once: what the SDK says of an engine that is not there is of no use to people."""
    parts = urlsplit(address)
    if parts.scheme in ("unix", "http+unix"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_REACH_S)
            probe.connect(unquote(f"{parts.netloc}{parts.path}"))
    else:
        socket.create_connection((parts.hostname or "", parts.port or 2375), _REACH_S).close()


def _missing(address: str, said: str) -> PreconditionError:
    if "Permission" in said:
        remedy = "Run the lab as a user that may use Docker: one of the group `docker`, or root."
    else:
        remedy = (
            "Install Docker and start its engine (on Debian the package docker.io), or set"
            " DOCKER_HOST to the socket of one that runs, such as that of a rootless engine."
        )
    return PreconditionError(
        f"No Docker engine answers at {address}.",
        code="docker.missing",
        why=said,
        remedy=remedy,
    )
