"""Put an environment together out of a workspace's configuration; nothing is started."""

from __future__ import annotations

from pathlib import Path

from lab.core.config import Config, MaterializeConfig
from lab.core.errors import UsageError
from lab.core.workspace import Workspace
from lab.targets.base import Environment
from lab.targets.materialize import processes
from lab.targets.materialize.builds import BuildStore
from lab.targets.materialize.checkout import Checkout
from lab.targets.materialize.environment import MaterializeEnvironment
from lab.targets.materialize.image import ImageRunner
from lab.targets.materialize.image_server import ImageServer
from lab.targets.materialize.metadata import metadata_store
from lab.targets.materialize.ports import Ports
from lab.targets.materialize.record import Records
from lab.targets.materialize.server import Server
from lab.targets.materialize.state import StateFiles

STATE = "materialize"


def assemble(workspace: Workspace, config: Config) -> Environment:
    """Return the environment that ``config`` describes.

    Raises
    ------
    UsageError
        Neither a checkout nor an image is named, or a setting besides `image` that it excludes.
    PreconditionError
        The checkout is not there, or is not one of Materialize.
    """
    wanted = config.materialize
    if wanted.image:
        return _of_image(workspace, wanted)
    if not wanted.checkout:
        raise UsageError(
            "It is not said where Materialize is.",
            code="checkout.unset",
            why="The target materialize needs a checkout, or an image.",
            remedy='Set `checkout = "…"` (or `image = "…"`) under [materialize] in lab.toml.',
        )
    checkout = Checkout.open(_from(workspace.root, wanted.checkout))
    data = (
        _from(workspace.root, wanted.data) if wanted.data else workspace.states / STATE / "mzdata"
    )
    records = Records(workspace.environments, STATE)
    server = Server(
        files=StateFiles(data),
        records=records,
        ports=Ports.from_first(wanted.port),
        metadata=metadata_store(workspace, wanted, STATE),
        builds=BuildStore(workspace.private / "builds", checkout, _running),
        checkout=checkout,
        declared=wanted.build,
        arguments=wanted.arguments,
        timeout_s=wanted.start_timeout_s,
    )
    return MaterializeEnvironment(server, STATE, wanted.variables)


def _of_image(workspace: Workspace, wanted: MaterializeConfig) -> Environment:
    # What an image has of its own cannot be chosen: a setting would silently be without effect.
    usual = MaterializeConfig()
    names = ("checkout", "build", "data", "metadata")
    idle = [name for name in names if getattr(wanted, name) != getattr(usual, name)]
    if idle:
        raise UsageError(
            f"With `image`, `{idle[0]}` under [materialize] is without effect.",
            code="image.not-with",
            why="An image is the build, and brings the metadata store and the data folder along.",
            remedy=f"Leave out either `image` or {' and '.join(f'`{name}`' for name in idle)}.",
        )
    server = ImageServer(
        ImageRunner(workspace, wanted, STATE),
        records=Records(workspace.environments, f"{STATE}-image"),
        ports=Ports.from_first(wanted.port),
        timeout_s=wanted.start_timeout_s,
    )
    return MaterializeEnvironment(server, STATE, wanted.variables)


def _from(root: Path, path: str) -> Path:
    return (root / Path(path).expanduser()).absolute()


def _running() -> frozenset[str]:
    return frozenset(str(each.executable) for each in processes.servers())
