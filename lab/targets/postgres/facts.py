"""What must be alike for two runs on PostgreSQL to be compared."""

from __future__ import annotations

import re

from lab.servers.connection import Connection
from lab.targets.base import SETTINGS_CHANGED

# Settings in the road of a DDL statement: said whatever they are.
_ALWAYS = (
    "autovacuum", "block_size", "checkpoint_completion_target", "checkpoint_timeout",
    "commit_delay", "data_checksums", "debug_assertions", "effective_io_concurrency", "fsync",
    "full_page_writes", "huge_pages_status", "io_method", "jit", "max_connections",
    "max_locks_per_transaction", "max_wal_size", "shared_buffers", "shared_preload_libraries",
    "synchronous_commit", "track_io_timing", "track_wal_io_timing", "wal_buffers",
    "wal_compression", "wal_level", "wal_segment_size", "wal_sync_method",
)  # fmt: skip
# Settings that are unlike between clones and change no latency: names, places, and how text looks.
_NEVER = (
    "application_name", "client_encoding", "cluster_name", "config_file", "data_directory",
    "datestyle", "default_text_search_config", "external_pid_file", "hba_file", "ident_file",
    "lc_messages", "lc_monetary", "lc_numeric", "lc_time", "listen_addresses", "log_line_prefix",
    "log_timezone", "port", "timezone", "unix_socket_directories",
)  # fmt: skip
# Where a setting that somebody made comes from; sessions set none of their own.
_SOURCES = ("configuration file", "global", "database", "user", "database user")

_SETTINGS = """
SELECT lower(name), current_setting(name),
       source = ANY(%(sources)s) AND setting IS DISTINCT FROM boot_val
  FROM pg_settings
 WHERE lower(name) = ANY(%(always)s)
    OR (source = ANY(%(sources)s) AND lower(name) <> ALL(%(never)s))
 ORDER BY 1
"""

_SERVER = """
SELECT current_setting('server_version'), version(),
       (SELECT setting FROM pg_config WHERE name = 'CONFIGURE'),
       (SELECT setting FROM pg_config WHERE name = 'CFLAGS'),
       (SELECT system_identifier FROM pg_control_system()),
       pg_encoding_to_char(encoding), datlocprovider::text, datcollate, datctype
  FROM pg_database WHERE datname = current_database()
"""


def read(connection: Connection, state: str) -> dict[str, str]:
    """Return version and build options, settings, and which ``state`` it is.

    `SETTINGS_CHANGED` names the settings that somebody made other than PostgreSQL ships them.
    """
    row = connection.execute(_SERVER).fetchone()
    assert row is not None
    version, text, configured, flags, system, encoding, provider, collate, ctype = row
    settings = connection.execute(
        _SETTINGS, {"always": list(_ALWAYS), "never": list(_NEVER), "sources": list(_SOURCES)}
    ).fetchall()
    return {
        "server.version": version,
        "build.compiler": _compiler(text),
        "build.optimisation": _optimisation(flags or ""),
        "build.compiled": text,
        "build.options": _options(configured or ""),
        "build.cflags": flags or "",
        "state.id": f"{state}/{system}",
        "state.encoding": encoding,
        "state.locale": f"{provider}/{collate}/{ctype}",
        **{f"setting.{name}": value for name, value, _ in settings},
        SETTINGS_CHANGED: " ".join(name for name, _, changed in settings if changed),
    }


def _compiler(text: str) -> str:
    """Return the compiler and its version out of what ``version()`` says."""
    found = re.search(r"compiled by (.+?)(?: \(.*?\))*(?: version| build)? (\d[\w.]*)", text)
    return f"{found[1]} {found[2]}" if found else "not given"


def _optimisation(flags: str) -> str:
    """Return the flags of the C compiler that make code faster or slower."""
    telling = re.findall(r"(?<!\S)-(?:O\S*|flto\S*|march=\S+|mtune=\S+|fprofile-use\S*)", flags)
    return " ".join(telling) or "none"


def _options(configured: str) -> str:
    """Return the options of ``configure`` that say what was built, not where."""
    options = re.findall(r"'([^']*)'", configured)
    return " ".join(each for each in options if re.match(r"--(with|enable|disable)", each))
