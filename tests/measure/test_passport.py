from __future__ import annotations

import platform
from typing import Any

import psycopg

from lab.measure.passport import make_passport
from lab.measure.record import Passport
from lab.targets.base import ObjectCounts


def passport(**changes: Any) -> Passport:
    parts: dict[str, Any] = {
        "target": "postgres",
        "mode": "autocommit",
        "environment": {"server.version": "18.6", "setting.fsync": "on", "state.id": "abc"},
        "counts": ObjectCounts({"table": 100_000, "view": 3}, 2),
        "host": {"host.kernel": "Linux 6.1", "host.cores": "2"},
    }
    return make_passport(**(parts | changes))


def test_what_changes_latency_must_be_alike() -> None:
    alike = passport().alike
    assert alike["target"] == "postgres"
    assert alike["mode"] == "autocommit"
    assert alike["state.id"] == "abc"
    assert alike["setting.fsync"] == "on"
    assert (alike["objects.table"], alike["objects.view"]) == ("100000", "3")
    assert alike["host.kernel"] == "Linux 6.1"
    assert alike["client.python"] == ".".join(platform.python_version_tuple()[:2])


def test_patch_releases_of_the_client_and_fixtures_are_only_noted() -> None:
    noted = passport().noted
    assert noted["client.python-release"] == platform.python_version()
    assert noted["client.psycopg"] == psycopg.__version__
    assert noted["objects.fixtures"] == "2"
    assert not noted.keys() & passport().alike.keys()


def test_which_settings_are_not_as_shipped_is_only_noted() -> None:
    found = passport(environment={"setting.fsync": "off", "settings.changed": "fsync"})
    assert found.noted["settings.changed"] == "fsync"
    assert found.alike["setting.fsync"] == "off"


def test_a_fact_that_nobody_here_knows_must_be_alike() -> None:
    assert "build.profile" in passport(environment={"build.profile": "debug"}).alike


def test_another_count_makes_another_passport() -> None:
    other = passport(counts=ObjectCounts({"table": 100_001, "view": 3}, 2))
    assert other.alike != passport().alike


def test_other_fixtures_make_no_other_passport() -> None:
    other = passport(counts=ObjectCounts({"table": 100_000, "view": 3}, 4))
    assert other.alike == passport().alike
