"""`ygg ota`: offline signing, releases and rollouts."""

from ygg.cli import ota_local, ota_release, ota_rollout, ota_upload
from ygg.cli.ota_app import app

PARTS = (ota_local, ota_upload, ota_release, ota_rollout)
"""Imported for their side effect: they register commands on `app`."""

__all__ = ["PARTS", "app"]
