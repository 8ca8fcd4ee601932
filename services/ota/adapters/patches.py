"""The port Patches with detools, in a separate process: bsdiff needs much memory and a core for seconds.

Sequential patches, since the device writes to its other slot; CRLE or heatshrink, whichever is smaller. Runs as
`python -m services.ota.adapters.patches OLD NEW PATCH FORMATS`.
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
from pathlib import Path

from services.chassis.threads import in_thread
from services.ota.errors import DeltaError

TIMEOUT_S = 300.0
"""Time for one patch, in seconds."""
FORMATS = {1: "crle", 2: "heatshrink"}


class DetoolsPatches:
    """Runs one process per patch."""

    async def make(self, old: bytes, new: bytes, formats: int) -> bytes | None:
        """See the port. Raises DeltaError."""
        if not old or not new or not formats & 3:
            return None
        try:
            with tempfile.TemporaryDirectory(prefix="ygg-patch-") as name:
                folder = Path(name)
                await in_thread((folder / "old").write_bytes, old)
                await in_thread((folder / "new").write_bytes, new)
                await _run(folder, formats)
                return await in_thread((folder / "patch").read_bytes)
        except OSError as e:  # no space for temporary files, or no process available
            raise DeltaError(f"patch failed: {e}") from e


async def _run(folder: Path, formats: int) -> None:
    command = [sys.executable, "-m", __name__, *(str(folder / name) for name in ("old", "new", "patch")), str(formats)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, stderr = await process.communicate()
    except TimeoutError as e:
        raise DeltaError(f"patch not finished within {TIMEOUT_S:g} s") from e
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise DeltaError(f"detools failed: {stderr.decode(errors='replace')[-200:]}")


def smallest(old: bytes, new: bytes, formats: int) -> bytes:
    """Return the smallest patch of the formats."""
    import detools  # type: ignore[import-untyped]

    found = []
    for bit, compression in FORMATS.items():
        if formats & bit:
            patch = io.BytesIO()
            detools.create_patch(io.BytesIO(old), io.BytesIO(new), patch, compression=compression, use_mmap=False)
            found.append(patch.getvalue())
    return min(found, key=len)


def main() -> None:
    """Entry point of the process."""
    old, new, patch, formats = sys.argv[1:]
    Path(patch).write_bytes(smallest(Path(old).read_bytes(), Path(new).read_bytes(), int(formats)))


if __name__ == "__main__":
    main()
