"""The configuration: what can be set, typed and strict; `lab.core.loading` reads it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from lab.core.limits import MOST_REPETITIONS, MOST_STATEMENTS, MOST_TABLES

Count = Annotated[int, msgspec.Meta(ge=0)]
Identifier = Annotated[str, msgspec.Meta(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]
ObjectKind = Literal["table", "view", "materialized-view", "index"]


class MeasureConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[measure]``: the default plan.

    ``samples`` is the least number a cell takes; sampling goes on in tens up to ``most_samples``
    until the median is known to ±``precision``, or the run has taken ``budget_s`` seconds. In
    ``mode`` transaction each statement stands between BEGIN and COMMIT.
    """

    statements: tuple[str, ...] = (
        "create-table",
        "create-view",
        "create-index",
        "create-materialized-view",
        "alter-rename",
    )
    samples: Annotated[int, msgspec.Meta(ge=1, le=2000)] = 30
    most_samples: Annotated[int, msgspec.Meta(ge=1, le=2000)] = 200
    warmups: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3
    precision: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.03
    budget_s: Annotated[float, msgspec.Meta(ge=0)] = 40.0
    mode: Literal["autocommit", "transaction"] = "autocommit"


class PopulationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[population]``: the objects that ``lab.up`` brings about; none where ``count`` is unset."""

    count: Count | None = None
    kind: ObjectKind = "table"
    schema: Identifier = "lab"


class PostgresConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[postgres]``: the embedded server.

    ``port`` is chosen once and kept where unset; ``settings`` go to the server's configuration.
    """

    port: Annotated[int, msgspec.Meta(ge=1024, le=65535)] | None = None
    settings: dict[str, str] = {}


class MaterializeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[materialize]``: environmentd out of a checkout, or of an image.

    ``build`` is a profile or a build's id. ``port`` is that of SQL; the four after it are those of
    HTTP, internal SQL, internal HTTP and PubSub. ``data`` is the folder with ``environment-id``,
    ``secrets`` and blobs, relative to the workspace; the state's own folder where unset.
    ``metadata`` is ``embedded``, a PostgreSQL URL or ``image:NAME``. ``variables`` are system
    variables that ``lab.up`` sets and `env.verify` expects.
    """

    checkout: str = ""
    image: str = ""
    build: str = "debug"
    port: Annotated[int, msgspec.Meta(ge=1024, le=65531)] = 6875
    data: str = ""
    metadata: str = "embedded"
    arguments: tuple[str, ...] = ()
    start_timeout_s: Annotated[int, msgspec.Meta(ge=1)] = 1800
    variables: dict[str, str] = {}


class UpstreamConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[upstream]``: the PostgreSQL whose published tables a source reads.

    ``tables`` is what ``lab.up`` brings about; where it is unset only ``upstream.up`` does.
    ``columns`` is the column list of each table, in SQL. ``image`` is that of provider docker,
    ``url`` (without a password, which libpq finds) that of provider url. ``port`` is chosen once
    and kept where unset. ``via`` is the host:port by which the target reaches it, where that is
    another than the lab's own way. ``cluster`` is where the source runs.
    """

    provider: Literal["embedded", "docker", "url"] = "embedded"
    tables: Count | None = None
    columns: str = "id int PRIMARY KEY, a int, b text"
    image: str = "postgres:17"
    url: str = ""
    port: Annotated[int, msgspec.Meta(ge=1024, le=65535)] | None = None
    via: str = ""
    cluster: Identifier = "quickstart"


class BatchConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[batch]``: how many statements stand in one transaction, and how often each size is tried.

    ``sweep`` are numbers of published tables at which ``sweep_size`` statements a transaction are
    repeated besides.
    """

    sizes: tuple[Annotated[int, msgspec.Meta(ge=1, le=MOST_STATEMENTS)], ...] = (
        *(1, 5, 10, 25, 50),
        *(100, 200, 300, 500),
    )
    repetitions: Annotated[int, msgspec.Meta(ge=1, le=MOST_REPETITIONS)] = 3
    sweep: tuple[Annotated[int, msgspec.Meta(ge=1, le=MOST_TABLES)], ...] = ()
    sweep_size: Annotated[int, msgspec.Meta(ge=1, le=MOST_STATEMENTS)] = 10


class SessionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[session]``: how a session is recorded."""

    vcs: Literal["auto", "jj", "git", "none"] = "auto"
    separate_log: bool = False


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a workspace."""

    target: str = "postgres"
    measure: MeasureConfig = MeasureConfig()
    population: PopulationConfig = PopulationConfig()
    postgres: PostgresConfig = PostgresConfig()
    materialize: MaterializeConfig = MaterializeConfig()
    upstream: UpstreamConfig = UpstreamConfig()
    batch: BatchConfig = BatchConfig()
    session: SessionConfig = SessionConfig()
