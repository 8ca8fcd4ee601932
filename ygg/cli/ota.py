"""`ygg ota`: what is done offline, what is released, what is rolled out."""

from ygg.cli import ota_local, ota_release, ota_rollout, ota_upload
from ygg.cli.ota_app import app

PARTS = (ota_local, ota_upload, ota_release, ota_rollout)
"""Imported for the commands that they hang on `app`."""

__all__ = ["PARTS", "app"]
