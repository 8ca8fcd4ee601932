"""Messages to use cases, and back; one module a gRPC service."""

from services.ota.api.images import NAME, UPLOAD_DEADLINE_S, OtaApi, Upload

__all__ = ["NAME", "UPLOAD_DEADLINE_S", "OtaApi", "Upload"]
