"""[[cluster]] of site.toml: storages that act as one. A wrong table is left out with a reason; its members stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from server.core.cluster import ClusterSettings, cluster_objects
from server.core.errors import ConfigError, EmsError
from server.core.layout import ObjectSpec
from server.core.solver import DISTRIBUTIONS

from .config import SITE_FILE, check_alias
from .explain import InvalidFile, validate
from .registry import Registry

KIND = "Cluster"


class ClusterTable(BaseModel):
    """[[cluster]]: storages that act as one, to be named wherever a storage is named."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    id: str = Field(description="Alias of the cluster.")
    members: tuple[str, ...] = Field(
        strict=False, min_length=1, description="Aliases of storages that take set-points, or of other clusters."
    )
    label: str = Field("", max_length=100, description="What people call it.")
    distribution: str = Field("", description=f"How members share their work: {', '.join(DISTRIBUTIONS)}; else as the site.")

    @field_validator("id")
    @classmethod
    def _alias(cls, value: str) -> str:
        return check_alias(value)

    @field_validator("distribution")
    @classmethod
    def _known_distribution(cls, value: str) -> str:
        if value and value not in DISTRIBUTIONS:
            raise ValueError(f"'{value}' is not one of {', '.join(DISTRIBUTIONS)}")
        return value


def plan_clusters(
    tables: Sequence[Mapping[str, Any]], objects: Iterable[ObjectSpec], registry: Registry, period_s: float
) -> tuple[list[ObjectSpec], list[ConfigError]]:
    """The objects of the clusters of a site, and what is wrong with the others."""
    objects = list(objects)
    taken = {o.alias for o in objects}
    found: list[ClusterSettings] = []
    problems: list[ConfigError] = []
    for number, table in enumerate(tables):
        shown = str(table.get("id", f"cluster[{number}]"))
        try:
            settings = _settings(table)
            if settings.alias in taken:
                raise ConfigError(SITE_FILE, f"{shown}.id", "is the alias of something else")
            registry.bind(settings.alias, KIND)
        except InvalidFile as error:
            problems += [ConfigError(SITE_FILE, f"{shown}.{e.field}".rstrip("."), e.problem) for e in error.errors]
        except ConfigError as error:
            problems.append(error)
        except EmsError as error:
            problems.append(ConfigError(SITE_FILE, f"{shown}.id", str(error)))
        else:
            taken.add(settings.alias)
            found.append(settings)
    made, wrong = cluster_objects(found, objects, period_s)
    return made, problems + wrong


def _settings(table: Mapping[str, Any]) -> ClusterSettings:
    checked = validate(ClusterTable, dict(table), SITE_FILE)
    return ClusterSettings(checked.id, checked.members, checked.label, checked.distribution)
