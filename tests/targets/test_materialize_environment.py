"""What is declared of the target materialize and cannot be: said before anything is done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_driver import Driver, make_driver, remove_driver


@pytest.fixture(scope="module")
def place() -> Iterator[Driver]:
    made = make_driver()
    yield made
    remove_driver(made)


def refused(place: Driver, *lines: str, task: str = "env.start") -> tuple[int, str, dict[str, str]]:
    text = "\n".join(['target = "materialize"', "[materialize]", *lines])
    (place.directory / "lab.toml").write_text(text + "\n")
    result = place.json(task)
    assert "Traceback" not in result.err
    return result.code, result.error["code"], result.error


@pytest.mark.parametrize("task", ["env.start", "env.status", "build.debug", "lab.up"])
def test_no_checkout_is_declared(place: Driver, task: str) -> None:
    code, name, error = refused(place, task=task)

    assert (code, name) == (2, "checkout.unset")
    assert "checkout" in error["next"]
    assert "[materialize]" in error["next"]


def test_a_checkout_that_is_not_there(place: Driver) -> None:
    code, _, error = refused(place, 'checkout = "nowhere"')

    assert code == 3
    assert str(place.directory / "nowhere") in error["what"]
    assert error["next"]


def test_a_checkout_of_something_else(place: Driver) -> None:
    (place.directory / "else").mkdir(exist_ok=True)
    (place.directory / "else/README.md").write_text("Something else.\n")

    code, _, error = refused(place, 'checkout = "else"')

    assert code == 3
    assert str(place.directory / "else") in error["what"]
    assert "bin/environmentd" in error["what"] + error["why"] + error["next"]


def test_both_an_image_and_a_checkout(place: Driver) -> None:
    code, _, error = refused(place, 'checkout = "else"', 'image = "materialize/materialized:v1"')

    assert code == 2
    assert "image" in error["what"]
    assert "checkout" in error["what"] + error["why"] + error["next"]


@pytest.mark.parametrize("port", ["80", "65535", '"6875"', "6875.5"])
def test_a_port_that_cannot_be(place: Driver, port: str) -> None:
    code, name, error = refused(place, f"port = {port}")

    assert (code, name) == (2, "config.wrong-value")
    assert "materialize.port" in error["what"]
    assert "lab.toml:3" in error["what"]


def test_a_setting_that_is_not_known(place: Driver) -> None:
    code, name, error = refused(place, 'chekout = "else"')

    assert (code, name) == (2, "config.unknown-key")
    assert "`materialize.checkout`" in error["next"]


def test_a_build_that_is_none(place: Driver) -> None:
    checkout = _bare_checkout(place)

    code, name, error = refused(place, f'checkout = "{checkout}"', 'build = "optimised"')

    assert (code, name) == (2, "build.unknown")
    assert "optimised" in error["what"]
    assert "optimized" in error["next"]
    assert not (place.directory / ".lab/states").exists(), "nothing was made"


def test_a_metadata_store_that_is_none(place: Driver) -> None:
    checkout = _bare_checkout(place)

    code, _, error = refused(place, f'checkout = "{checkout}"', 'metadata = "embeded"')

    assert code == 2
    assert "`embedded`" in error["why"]


def test_a_look_makes_nothing(driver: Driver) -> None:
    checkout = _bare_checkout(driver)
    (driver.directory / "lab.toml").write_text(
        f'target = "materialize"\n[materialize]\ncheckout = "{checkout}"\n'
    )

    for task in ("env.status", "lab.status", "build.list", "env.logs", "lab.config"):
        looked = driver.json(task)
        assert looked.code == 0, looked.err

    assert not (driver.directory / ".lab").exists()


def _bare_checkout(place: Driver) -> Path:
    """Lay out what makes a folder a checkout of Materialize, with nothing to run in it."""
    root = place.directory.parent / "bare"
    for name in ("bin/environmentd", "src/environmentd/Cargo.toml", "Cargo.toml"):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
        file.chmod(0o755)
    return root
