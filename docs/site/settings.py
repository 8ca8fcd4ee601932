"""The reference page of settings, from the settings classes of the services."""

from __future__ import annotations

import re

from pydantic.fields import FieldInfo

from docs.site.markdown import prose, table
from services.chassis.settings import ServiceSettings
from services.jotunheim_bridge.config import BridgeSettings
from services.loki.config import LokiSettings
from services.ota.config import OtaSettings
from services.registry.config import RegistrySettings

_DEFAULT = re.compile(r"; (required|default (?!unset)\S+)\.$")
"""The end of a description that repeats the column of defaults."""
SERVICES: dict[str, type[ServiceSettings]] = {
    "Registry": RegistrySettings,
    "Bridge": BridgeSettings,
    "Loki": LokiSettings,
    "OTA": OtaSettings,
}


def page() -> str:
    """Return one table for each service, below a heading of the first level; `listen` and its like in each."""
    parts = []
    for name, settings in SERVICES.items():
        prefix = str(settings.model_config["env_prefix"])
        rows = [
            (f"`{prefix}{field.upper()}`", _default(info), prose(_DEFAULT.sub(".", describe(settings, field))))
            for field, info in settings.model_fields.items()
        ]
        parts.append(f"## {name}\n\n{table(('variable', 'default', 'meaning'), rows)}")
    return "\n".join(parts)


def describe(settings: type[ServiceSettings], field: str) -> str:
    """Return the description of a setting; a service that only sets another default inherits the common one."""
    common = ServiceSettings.model_fields.get(field)
    return settings.model_fields[field].description or (common.description if common else "") or ""


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    if info.default_factory is not None:
        return "random"
    if info.default in (None, ""):
        return "none"
    return f"`{str(info.default).lower() if isinstance(info.default, bool) else info.default}`"
