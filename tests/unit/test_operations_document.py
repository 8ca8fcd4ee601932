"""docs/guides/operations.md names every setting there is, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

from services.jotunheim_bridge.config import BridgeSettings
from services.loki.config import LokiSettings
from services.ota.config import OtaSettings
from services.registry.config import RegistrySettings

SETTINGS = (RegistrySettings, BridgeSettings, LokiSettings, OtaSettings)
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "guides" / "operations.md"


def test_the_document_names_exactly_the_settings_there_are() -> None:
    tables = DOCUMENT.read_text().split("## Settings")[1].split("## Policies")[0]
    first_cells = re.findall(r"^\| (`[^|]+) \|", tables, re.MULTILINE)
    named = {name for cell in first_cells for name in re.findall(r"`([A-Z0-9_]+)`", cell)}
    assert named == {name.upper() for settings in SETTINGS for name in settings.model_fields}
