"""Pure rules of the OTA service: images, updates of single devices, rollouts."""

from services.ota.model.images import (
    DEFAULT_PAGE,
    MAX_CHUNK_BYTES,
    MAX_IMAGE_BYTES,
    MAX_PAGE,
    PIECE_BYTES,
    Header,
    Image,
    blocks,
    check_chunk,
    check_header,
    check_page,
    pieces,
    resolve_range,
    verified,
)

__all__ = [
    "DEFAULT_PAGE",
    "MAX_CHUNK_BYTES",
    "MAX_IMAGE_BYTES",
    "MAX_PAGE",
    "PIECE_BYTES",
    "Header",
    "Image",
    "blocks",
    "check_chunk",
    "check_header",
    "check_page",
    "pieces",
    "resolve_range",
    "verified",
]
