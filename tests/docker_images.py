"""Images for the tests, made here: none is pulled from anywhere.

    python tests/docker_images.py        make them beforehand, since the first takes a minute

The base is a minimal Debian that debootstrap makes from the mirror that apt uses; it is kept in
``.venv``. The others are that base with files added, named after their content.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import docker
import psycopg
from docker.models.images import Image
from filelock import FileLock

from lab.servers import binaries

REPOSITORY = "ddl-lab-test"
SERVERS = Path(__file__).with_name("docker")
_CACHE = Path(__file__).resolve().parent.parent / ".venv"
_UNNEEDED = ("./var/cache/apt", "./var/lib/apt/lists", "./usr/share/doc", "./usr/share/locale")


def postgres(client: docker.DockerClient) -> str:
    """The embedded PostgreSQL, started as Docker's ``postgres`` image is."""
    return _made(client, "postgres", "/usr/local/bin/docker-entrypoint.sh", stop_signal="SIGINT")


def cockroach(client: docker.DockerClient) -> str:
    """The embedded PostgreSQL behind the command line and the port of CockroachDB.

    It stands in for CockroachDB, which no package brings, as far as starting it goes.
    """
    return _made(client, "cockroach", "/cockroach/cockroach.sh")


def materialized(client: docker.DockerClient) -> str:
    """A little server on the ports of environmentd, with its state below ``/mzdata``."""
    return _made(client, "materialized", "/usr/local/bin/entrypoint.py")


def standin(client: docker.DockerClient) -> str:
    """The stand-in for environmentd, with the metadata store that it needs."""
    packages = Path(psycopg.__file__).parent.parent
    more = {
        "opt/standin": SERVERS.with_name("standin"),
        "opt/psycopg": packages / "psycopg",
        "opt/typing_extensions.py": packages / "typing_extensions.py",
        "opt/environmentd": SERVERS / "standin",
        "opt/clusterd": SERVERS / "standin",
    }
    return _made(client, "standin", "/usr/local/bin/entrypoint", more=more)


def base(client: docker.DockerClient) -> Image:
    """Return the minimal Debian, of this host's release, made where it is missing.

    Raises
    ------
    OSError
        It cannot be made: this is no Debian, or debootstrap is missing.

    """
    suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    tag = f"{REPOSITORY}/debian:{suite}"
    with FileLock(_CACHE / "docker-images.lock"):
        with contextlib.suppress(docker.errors.ImageNotFound):
            return client.images.get(tag)
        archive = _CACHE / f"docker-{suite}.tar"
        if not archive.exists():
            _bootstrap(suite, _mirror(suite), archive)
        client.api.import_image_from_file(
            str(archive), repository=f"{REPOSITORY}/debian", tag=suite
        )
    return client.images.get(tag)


def _made(
    client: docker.DockerClient,
    name: str,
    entrypoint: str,
    *,
    stop_signal: str = "SIGTERM",
    more: Mapping[str, Path] | None = None,
) -> str:
    """Return the name of the base with the server ``name`` added, made where it is missing.

    ``more`` are files and folders that it holds besides, by their place within.
    """
    debian = base(client)
    files = {entrypoint.lstrip("/"): SERVERS / name, **(more or {})}
    made_of = f"{debian.id} {binaries.wheel_version()} {stop_signal} {_fingerprint(files)}"
    tag = f"{REPOSITORY}/{name}:{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"
    with FileLock(_CACHE / f"docker-{name}.lock"):
        with contextlib.suppress(docker.errors.ImageNotFound):
            client.images.get(tag)
            return tag
        container = client.containers.create(
            debian, entrypoint=[entrypoint], stop_signal=stop_signal
        )
        try:
            container.put_archive("/", _archive(files))
            # What it was created with, entry point and stop signal, becomes the image's.
            container.commit(f"{REPOSITORY}/{name}", tag.rpartition(":")[2])
        finally:
            container.remove()
    return tag


def _fingerprint(files: Mapping[str, Path]) -> str:
    """Return a hash of all files with their places."""
    total = hashlib.sha256()
    for place, source in sorted(files.items()):
        for each in sorted(source.rglob("*")) if source.is_dir() else (source,):
            if each.is_file() and "__pycache__" not in each.parts:
                total.update(f"{place} {each.name} ".encode() + each.read_bytes())
    return total.hexdigest()


def _archive(files: Mapping[str, Path]) -> bytes:
    """Return an archive with the embedded PostgreSQL and ``files``."""
    package = binaries.shipped().root.parent
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for each in (package / "pginstall", package.with_name(f"{package.name}.libs")):
            if each.exists():
                archive.add(each, f"opt/{each.relative_to(package.parent)}")
        for place, source in files.items():
            archive.add(source, place, filter=_source)
    return stream.getvalue()


def _source(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what Python compiled; let everybody read all the rest, and execute it."""
    if "__pycache__" in member.name:
        return None
    member.mode = 0o755
    member.uid = member.gid = 0
    return member


def _mirror(suite: str) -> str:
    """Return the address that apt is configured to have this release from."""
    listed = subprocess.run(
        ["apt-get", "update", "--print-uris"], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(rf"^'(.+)/dists/{suite}/InRelease'", listed, re.MULTILINE)
    if not suite or found is None:
        raise OSError(f"apt knows no archive of the release `{suite}`")
    return found[1]


def _bootstrap(suite: str, mirror: str, archive: Path) -> None:
    with tempfile.TemporaryDirectory(dir=_CACHE) as folder:
        root = Path(folder) / "root"
        command = ["debootstrap", "--variant=minbase", "--include=python3", suite, root, mirror]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"debootstrap failed:\n{done.stdout[-2000:]}{done.stderr[-500:]}")
        new = archive.with_suffix(".new")
        left_out = [f"--exclude={each}" for each in _UNNEEDED]
        subprocess.run(["tar", "-C", root, "-cf", new, *left_out, "."], check=True)
        new.rename(archive)


@contextlib.contextmanager
def engine() -> Iterator[docker.DockerClient]:
    """Lend a connection to the engine of this host."""
    client = docker.from_env()
    try:
        yield client
    finally:
        client.close()


if __name__ == "__main__":
    os.umask(0o022)
    with engine() as opened:
        for make in (postgres, cockroach, materialized, standin):
            sys.stdout.write(f"docker_images: {make(opened)}\n")
