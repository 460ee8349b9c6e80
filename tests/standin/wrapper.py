"""What `bin/run` does behind `bin/environmentd`: build, prepare the state, start, start again."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

from standin import cargo, orchestrator

HALTED = 166
RESTART_S = 5.0
SCHEMAS = ("consensus", "tsoracle", "storage")
_SWITCHES = (
    "--reset",
    "--release",
    "--optimized",
    "--timings",
    "--no-default-features",
    "--foundationdb",
    "--tokio-console",
    "--build-only",
    "--coverage",
    "--monitoring",
    "--enable-mac-codesigning",
)
SIZES = ("bootstrap", "scale=1,workers=1", "scale=1,workers=2", "scale=2,workers=1")


def main(root: Path) -> int:
    """Do what the command line says; return the exit code."""
    arguments = _arguments(root)
    if arguments.args and arguments.args[0].startswith("+"):
        del arguments.args[0]
    profile = "release" if arguments.release else "optimized" if arguments.optimized else "debug"
    flags = {"release": " --release", "optimized": " --profile optimized"}.get(profile, "")
    print(f"$ cargo build{flags} --bin clusterd --bin environmentd", flush=True)
    code = cargo.build(root, profile, arguments.features or "")
    if code:
        print(f"run: cargo returned non-zero exit status {code}", file=sys.stderr)
        return 1
    if arguments.build_only:
        return 0
    binary = _link(root, profile)
    _prepare_state(root, arguments)
    command = [
        *shlex.split(arguments.wrapper or ""),
        str(binary),
        *_environmentd_arguments(root, arguments),
    ]
    return _run_in_a_group(command)


def _arguments(root: Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run")
    parser.add_argument("program", choices=["environmentd"])
    parser.add_argument("args", nargs="*")
    for flag in _SWITCHES:
        parser.add_argument(flag, action="store_true")
    for flag in ("--features", "--sanitizer", "--wrapper"):
        parser.add_argument(flag)
    parser.add_argument(
        "--postgres",
        default=os.getenv("MZDEV_POSTGRES", "postgres://root@localhost:26257/materialize"),
    )
    parser.add_argument(
        "--blob", default=os.getenv("MZDEV_BLOB", f"file://{root}/mzdata/persist/blob")
    )
    parser.add_argument(
        "--listeners-config-path",
        default=f"{root}/src/materialized/ci/listener_configs/no_auth.json",
    )
    return parser.parse_intermixed_args()


def _link(root: Path, profile: str) -> Path:
    folder = root / "mzbuild" / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    for program in cargo.PROGRAMS:
        link = folder / program
        link.unlink(missing_ok=True)
        link.symlink_to(root / "target" / profile / program)
    return folder / "environmentd"


def _prepare_state(root: Path, arguments: argparse.Namespace) -> None:
    data, scratch = root / "mzdata", root / "scratch"
    id_file = data / "environment-id"
    old = id_file.read_text().strip() if id_file.exists() else ""
    for process in orchestrator.adoptable(old):
        if arguments.reset:
            print(f"Killing orphaned clusterd process (PID {process})", flush=True)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        else:
            warning = f"warning: Existing clusterd process (PID {process}) will be reused"
            print(warning, file=sys.stderr)
    _prepare_schemas(arguments.postgres, reset=arguments.reset)
    if arguments.reset:
        kept = ("prometheus", "tempo")
        doomed = [path for path in data.glob("*") if path.name not in kept]
        for path in [*(data / "prometheus").glob("*"), *doomed, *scratch.glob("*")]:
            print(f"Removing {path}...", flush=True)
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
    data.mkdir(exist_ok=True)
    scratch.mkdir(exist_ok=True)
    if not id_file.exists():
        id_file.write_text(f"local-az1-{uuid.uuid4()}-0")


def _prepare_schemas(url: str, *, reset: bool) -> None:
    import psycopg

    try:
        connection = psycopg.connect(url, autocommit=True)
    except psycopg.Error as error:
        print(f"run: error: unable to connect to metadata database: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    with connection:
        for schema in SCHEMAS:
            statements = [f"CREATE SCHEMA IF NOT EXISTS {schema}"]
            if reset:
                statements.insert(0, f"DROP SCHEMA IF EXISTS {schema} CASCADE")
            for statement in statements:
                print(f"> {statement}", flush=True)
                connection.execute(statement.encode())


def _environmentd_arguments(root: Path, arguments: argparse.Namespace) -> list[str]:
    data = root / "mzdata"
    print(f"persist-blob-url: {arguments.blob}")
    print(f"listeners config path: {arguments.listeners_config_path}", flush=True)
    return [
        f"--listeners-config-path={arguments.listeners_config_path}",
        "--orchestrator=process",
        f"--orchestrator-process-secrets-directory={data}/secrets",
        "--orchestrator-process-tcp-proxy-listen-addr=0.0.0.0",
        f"--orchestrator-process-prometheus-service-discovery-directory={data}/prometheus",
        f"--orchestrator-process-scratch-directory={root}/scratch",
        "--secrets-controller=local-file",
        f"--persist-consensus-url={arguments.postgres}?options=--search_path=consensus",
        f"--persist-blob-url={arguments.blob}",
        f"--timestamp-oracle-url={arguments.postgres}?options=--search_path=tsoracle",
        f"--environment-id={(data / 'environment-id').read_text().rstrip()}",
        "--bootstrap-role=materialize",
        f"--cluster-replica-sizes={json.dumps({size: {'workers': 1} for size in SIZES})}",
        "--bootstrap-default-cluster-replica-size=bootstrap",
        *arguments.args,
        *(["--opentelemetry-endpoint=http://localhost:4317"] if arguments.monitoring else []),
    ]


def _run_in_a_group(command: list[str]) -> int:
    child = os.fork()
    if child:

        def end_group() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGTERM)

        atexit.register(end_group)
        try:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF
        except KeyboardInterrupt:
            return 1
    os.setpgid(0, 0)
    print(f"$ {' '.join(command)}", flush=True)
    code = HALTED
    while code == HALTED:
        began = time.monotonic()
        code = subprocess.run(command, check=False).returncode
        if code == HALTED:
            wait = max(0.0, RESTART_S - (time.monotonic() - began))
            print(f"environmentd halted; will restart in {wait}s", flush=True)
            time.sleep(wait)
    os._exit(code & 0xFF)
