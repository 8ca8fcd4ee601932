"""Make the golden patches of the C tests with detools itself: two images, and a patch for each compression.

    make_patches.py DIR

Owns the content of the images. The files are committed, so that the tests do not need detools.
"""

from __future__ import annotations

import io
import random
import sys
from pathlib import Path

import detools

OLD_BYTES = 6000


def images() -> tuple[bytes, bytes]:
    """Return an old image, and a new one with a changed constant, a new function, and everything after it moved."""
    rng = random.Random(20)  # noqa: S311 - repeatable images
    old = bytes(rng.choice(b"\x00\x01\x13\x93\xef\x67") if i % 3 else rng.randrange(256) for i in range(OLD_BYTES))
    new = bytearray(old[:2500] + rng.randbytes(300) + old[2500:5500])
    for at in range(50, len(new), 700):
        new[at] ^= 0x21
    return old, bytes(new)


def main() -> int:
    """Write old.bin, new.bin and the patches."""
    out = Path(sys.argv[1])
    old, new = images()
    (out / "old.bin").write_bytes(old)
    (out / "new.bin").write_bytes(new)
    for compression in ("crle", "heatshrink"):
        patch = io.BytesIO()
        detools.create_patch(io.BytesIO(old), io.BytesIO(new), patch, compression=compression, patch_type="sequential")
        (out / f"{compression}.patch").write_bytes(patch.getvalue())
        sys.stdout.write(f"{compression}: {len(patch.getvalue())} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
