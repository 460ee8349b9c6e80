"""System and session variables."""

from __future__ import annotations

import re
from typing import Any

from standin.errors import SqlError

UNSIGNED = "unsigned integer"
BOOLEAN = "boolean"
TEXT = "string"
DURATION = "duration"

_LIMITS = {
    "max_tables": 200,
    "max_sources": 200,
    "max_sinks": 1000,
    "max_materialized_views": 500,
    "max_objects_per_schema": 1000,
    "max_schemas_per_database": 1000,
    "max_databases": 1000,
    "max_secrets": 100,
    "max_clusters": 25,
    "max_replicas_per_cluster": 5,
    "max_postgres_connections": 1000,
    "max_connections": 5000,
    "max_roles": 1000,
    "max_aws_privatelink_connections": 0,
    "max_result_size": 1073741824,
    "arrangement_exert_proportionality": 16,
}
_SWITCHES = {
    "allow_real_time_recency": True,
    "allow_user_sessions": True,
    "enable_create_table_from_source": False,
    "enable_alter_table_add_column": False,
    "enable_statement_lifecycle_logging": True,
    "enable_rbac_checks": True,
}
_DURATIONS = {
    "0dt_deployment_hydration_check_interval": "10 s",
    "cluster_alter_check_ready_interval": "3 s",
    "default_timestamp_interval": "1 s",
}
SYSTEM: dict[str, tuple[str, str]] = {
    **{name: (UNSIGNED, str(value)) for name, value in _LIMITS.items()},
    **{name: (BOOLEAN, "on" if value else "off") for name, value in _SWITCHES.items()},
    **{name: (DURATION, value) for name, value in _DURATIONS.items()},
    "allowed_cluster_replica_sizes": (TEXT, ""),
    "cluster_replica": (TEXT, ""),
}
"""Kind and default by name."""
SESSION: dict[str, str] = {
    "application_name": "",
    "client_encoding": "UTF8",
    "client_min_messages": "notice",
    "cluster": "quickstart",
    "database": "materialize",
    "datestyle": "ISO, MDY",
    "emit_timestamp_notice": "off",
    "extra_float_digits": "3",
    "idle_in_transaction_session_timeout": "2 min",
    "integer_datetimes": "on",
    "intervalstyle": "postgres",
    "is_superuser": "off",
    "max_query_result_size": "1GB",
    "mz_version": "",
    "search_path": "public",
    "server_version": "9.5.0",
    "server_version_num": "90500",
    "sql_safe_updates": "off",
    "standard_conforming_strings": "on",
    "statement_timeout": "1 min",
    "timezone": "UTC",
    "transaction_isolation": "strict serializable",
    "welcome_message": "on",
}
_FIXED = ("integer_datetimes", "is_superuser", "mz_version", "server_version", "server_version_num")
_ON = {"on", "true", "t", "1", "yes"}
_OFF = {"off", "false", "f", "0", "no"}
_UNITS_MS = {"us": 0.001, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def system_value(name: str, text: str) -> str:
    """Return a system variable's value in its canonical form.

    Raises
    ------
    SqlError
        The variable is unknown, or takes no such value.

    """
    known = SYSTEM.get(name)
    if known is None:
        raise unknown(name)
    kind = known[0]
    if kind == UNSIGNED and text.isdecimal():
        return str(int(text))
    if kind == BOOLEAN and text.lower() in _ON | _OFF:
        return "on" if text.lower() in _ON else "off"
    if kind in (TEXT, DURATION):
        return text
    raise SqlError(f'parameter "{name}" requires a "{kind}" value', "22023")


def session_value(name: str, text: str) -> str:
    """Return a session variable's value in its canonical form; raise as `system_value` does."""
    if name not in SESSION and name not in SYSTEM:
        raise unknown(name)
    if name in _FIXED or name not in SESSION:
        raise SqlError(f'parameter "{name}" cannot be changed', "55P02")
    if name.endswith("_timeout"):
        milliseconds(text, name)
    return text


def milliseconds(text: str, name: str = "statement_timeout") -> float:
    """Return a duration; 0 means none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip())
    if not found or found[2] not in {"", *_UNITS_MS}:
        raise SqlError(f'parameter "{name}" requires a "duration" value', "22023")
    return float(found[1]) * _UNITS_MS[found[2] or "ms"]


def unknown(name: str) -> SqlError:
    """Return the error of a variable that does not exist."""
    return SqlError(f'unrecognized configuration parameter "{name}"', "42704")


class SystemVariables:
    """System variables: what was set, else what the command line says, else the default."""

    def __init__(self, settings: dict[str, Any], given: dict[str, str]) -> None:
        self._settings = settings
        self._given = given

    def get(self, name: str) -> str:
        """Return the value now."""
        if name in self._settings:
            return str(self._settings[name])
        if name in self._given:
            return system_value(name, self._given[name])
        return SYSTEM[name][1]

    def number(self, name: str) -> int:
        """Return a limit."""
        return int(self.get(name))

    def on(self, name: str) -> bool:
        """Say whether a switch is on."""
        return self.get(name) == "on"
