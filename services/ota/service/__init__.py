"""What ota does, apart from how it is asked and where it is kept; one module a kind of thing."""

from services.ota.service.images import Images, sweep_forever

__all__ = ["Images", "sweep_forever"]
