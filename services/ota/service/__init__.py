"""Use cases of the OTA service, without transport and storage; one module per subject."""

from services.ota.service.images import Images, sweep_forever

__all__ = ["Images", "sweep_forever"]
