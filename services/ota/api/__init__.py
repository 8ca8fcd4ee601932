"""gRPC servicers: convert requests to use cases and results to responses; one module per service."""

from services.ota.api.images import NAME, UPLOAD_DEADLINE_S, OtaApi, Upload

__all__ = ["NAME", "UPLOAD_DEADLINE_S", "OtaApi", "Upload"]
