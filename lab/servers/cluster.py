"""A PostgreSQL data directory: made whole or not at all, and read without a server."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil

from lab.core.errors import ExternalError, LabError, PreconditionError
from lab.core.files import explained, sync_directory, write_atomically
from lab.core.killpoints import reached
from lab.core.processes import ProcessIdentity
from lab.servers import folders
from lab.servers.accounts import Account
from lab.servers.binaries import Binaries
from lab.servers.ports import LOOPBACK
from lab.servers.settings import INCLUDE

SUPERUSER = "postgres"
_CLEAN = ("shut down", "shut down in recovery")


class PidFile(msgspec.Struct, frozen=True):
    """What a server wrote into ``postmaster.pid``; ``status`` is ``ready`` or the like."""

    pid: int
    port: int
    status: str


class Trusted(msgspec.Struct, frozen=True):
    """A role that may log in without a password, from this host to this one database only."""

    database: str
    role: str


def initialise(
    folder: Path, binaries: Binaries, account: Account, trusted: Sequence[Trusted] = ()
) -> None:
    """Make a data directory and its password in the state's ``folder``, which holds nothing else.

    It is made beside its place and renamed when it is complete, so that a half-made one is never
    taken for a state. The password is random, in a file that only its owner may read. Whoever is
    ``trusted`` needs none.

    Raises
    ------
    PreconditionError
        The disk is full, or the folder cannot be written, or holds what the lab did not make.
    ExternalError
        initdb failed.

    """
    folders.claim(folder)
    password = folder / folders.PASSWORD
    write_atomically(password, f"{secrets.token_urlsafe(24)}\n".encode(), mode=0o600)
    with explained(folder, "making a state in"):
        account.own(password)
        scratch = folders.make_scratch(folder)
        new = scratch / folders.DATA
        new.mkdir(mode=0o700)
        account.own(new)
        reached("env.start.initdb:before")
        _initdb(new, password, binaries, account)
        with (new / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(f"\n{INCLUDE}\n")
            file.flush()
            os.fsync(file.fileno())
        _let_in(new, trusted)
        folders.mark(new)
        reached("env.start.initdb:made")
        new.rename(folder / folders.DATA)
        sync_directory(folder)
        folders.discard(scratch)
    reached("env.start.initdb:after")


def _initdb(new: Path, password: Path, binaries: Binaries, account: Account) -> None:
    done = subprocess.run(
        [
            binaries.program("initdb"),
            f"--pgdata={new}",
            f"--username={SUPERUSER}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        cwd="/",
        env=environment(),
        start_new_session=True,
        **account.popen_arguments(),
    )
    if done.returncode != 0:
        folders.discard(new.parent)
        raise failed("initdb could not make a state.", done.stdout, new.parent.parent)


def _let_in(new: Path, trusted: Sequence[Trusted]) -> None:
    """Put the lines for ``trusted`` before all others: the first one that fits is taken."""
    path = new / "pg_hba.conf"
    lines = [f'host "{each.database}" "{each.role}" {LOOPBACK}/32 trust\n' for each in trusted]
    text = path.read_text(encoding="utf-8")
    with path.open("w", encoding="utf-8") as file:
        file.write("".join([*lines, text]))
        file.flush()
        os.fsync(file.fileno())


def failed(what: str, output: str, folder: Path) -> LabError:
    """Return the error for a program of PostgreSQL that ended with ``output``."""
    why = "\n".join(output.strip().splitlines()[-12:])
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return PreconditionError(
            f"{what} The disk is full.",
            code="disk.full",
            why=why,
            remedy=f"Free space on the file system of {folder} and run the same command again.",
        )
    return ExternalError(
        what,
        code="server.failed",
        why=why or "It said nothing.",
        remedy="The lines above are the end of what it said; a setting under [postgres] in lab.toml"
        " that it refuses is named there.",
    )


def environment() -> dict[str, str]:
    """Return the environment variables of the server: none of the user's, which could change it."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def require_made_by_the_lab(data: Path) -> None:
    """Refuse data that the lab did not make: it neither serves nor resets them.

    Raises
    ------
    PreconditionError
        The line is missing that the lab puts into the configuration of what it makes.

    """
    conf = data / "postgresql.conf"
    with explained(conf, "reading"):
        text = conf.read_text(encoding="utf-8", errors="replace") if conf.exists() else ""
    if INCLUDE not in text.splitlines():
        raise PreconditionError(
            f"The folder {data} was not made by the lab.",
            code="state.foreign-data",
            why=f"Its postgresql.conf has no line {INCLUDE}, which all data of the lab's have.",
            remedy="Move the folder elsewhere and run the command again; where it is the lab's,"
            " put the line back.",
        )


def read_pid_file(data: Path) -> PidFile | None:
    """Return what ``postmaster.pid`` says; None where there is none, or only a part of one."""
    try:
        lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
        return PidFile(int(lines[0]), int(lines[3]), lines[7].strip() if len(lines) > 7 else "")
    except (FileNotFoundError, ValueError, IndexError):
        return None


def is_ready(data: Path) -> bool:
    """Say whether the server on ``data`` has written down that it accepts connections."""
    file = read_pid_file(data)
    return file is not None and file.status in ("ready", "standby")


def is_stopping(data: Path) -> bool:
    """Say whether the server on ``data`` has written down that it is shutting down."""
    file = read_pid_file(data)
    return file is not None and file.status == "stopping"


def postmaster(data: Path) -> ProcessIdentity | None:
    """Return the living server process of the data directory, whoever started it.

    A pid that went to another process since is told apart: the server runs as the owner of the
    data, which it insists on, and in that directory.
    """
    file = read_pid_file(data)
    return serving(file.pid, data) if file else None


def serving(pid: int, data: Path) -> ProcessIdentity | None:
    """Return the identity of process ``pid`` if it is a PostgreSQL at work in ``data``."""
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        if (
            process.uids().effective == data.stat().st_uid
            and Path(process.exe()).name == "postgres"
            and Path(process.cwd()) == data.resolve()
        ):
            return ProcessIdentity.of(pid)
    return None


def processes_in(data: Path) -> list[int]:
    """Return the pids of all PostgreSQL processes at work in ``data``, backends among them."""
    return [pid for pid in psutil.pids() if serving(pid, data)]


def control(data: Path, binaries: Binaries) -> dict[str, str]:
    """Return what ``pg_controldata`` says of ``data``, by its English labels."""
    lines = binaries.ask("pg_controldata", "-D", str(data)).splitlines()
    pairs = (line.partition(":") for line in lines)
    return {label.strip(): value.strip() for label, _, value in pairs}


def shut_down_cleanly(data: Path, binaries: Binaries) -> bool:
    """Say whether the last server on ``data`` ended in order."""
    return control(data, binaries).get("Database cluster state") in _CLEAN


def only_writes(server: ProcessIdentity) -> bool:
    """Say whether a ``server`` that shuts down has ended its sessions and but writes to disk.

    Its checkpointer is left then, and the processes that do its I/O. The state in the data does
    not tell: it says so only once the checkpoint has ended that was under way before.
    """
    left = []
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(server.pid).children():
            with contextlib.suppress(psutil.Error):
                left.append(" ".join(child.cmdline()))
    writers = [title for title in left if "checkpointer" in title]
    return bool(writers) and all("io worker" in title for title in left if title not in writers)


def require_version(data: Path, binaries: Binaries) -> None:
    """Refuse data that another major version of PostgreSQL made.

    Raises
    ------
    PreconditionError
        The versions differ.

    """
    with explained(data, "reading"):
        made_by = (data / "PG_VERSION").read_text().strip()
    version = binaries.version()
    if version.partition(".")[0] != made_by:
        raise PreconditionError(
            f"The state in {data.parent} was made by PostgreSQL {made_by}; installed is {version}.",
            code="state.version",
            why="PostgreSQL does not read the data of another major version.",
            remedy=f"Install a build of PostgreSQL {made_by}, or use another workspace.",
        )


def foreign(pid: int, data: Path) -> PreconditionError:
    """Return the error that says that the server ``pid`` on ``data`` is not the lab's."""
    return PreconditionError(
        f"Another PostgreSQL (pid {pid}) runs on the state {data.parent.name}.",
        code="server.foreign",
        why=f"It works in {data}, but this lab did not start it and leaves it alone.",
        remedy="Stop it the way it was started, and run the command again.",
    )


def remove_stale_pid_file(data: Path) -> None:
    """Remove a ``postmaster.pid`` whose pid lives on as another process.

    PostgreSQL itself recovers from any other stale one, but refuses to start for this one.
    """
    file = read_pid_file(data)
    if file and psutil.pid_exists(file.pid) and not processes_in(data):
        (data / "postmaster.pid").unlink(missing_ok=True)
