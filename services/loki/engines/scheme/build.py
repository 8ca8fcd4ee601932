"""Compiles the Scheme worker, once for each version of Guile and of the worker: `python -m …scheme.build FOLDER`.

Interpreted, the worker would take a second to start and be slow afterwards. Sources and compiled files are kept
together in a folder named by the digest of both, so that neither time stamps nor upgrades can mix them up.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "ygg"
BUILD_TIMEOUT_S = 300.0
# The modules are all loaded before the first is compiled: a module that exists only because its file is being
# compiled lacks its variables, and code compiled against it refers to the wrong ones.
_BUILD = """
(use-modules (system base compile) (ice-9 ftw))
(let ((folder (cadr (command-line))))
  (resolve-interface '(ygg worker))
  (for-each (lambda (file)
              (compile-file (string-append folder "/ygg/" file)
                            #:output-file (string-append folder "/ygg/" (basename file ".scm") ".go")
                            #:optimization-level 1))
            (scandir (string-append folder "/ygg") (lambda (file) (string-suffix? ".scm" file)))))
"""

LOCALE = {"LC_ALL": "C.UTF-8"}
"""In the C locale Guile cannot open a file with a non-ASCII path."""


class BuildError(Exception):
    """Guile is missing or cannot compile the worker; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Guile:
    """A Guile and its version, such as `3.0.8`."""

    path: str
    version: str


def find(program: str = "guile") -> Guile:
    """Return the Guile 3 to use; raise BuildError that names the package to install."""
    path = shutil.which(program)
    if path is None:
        raise BuildError(f"{program} is not installed")
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False, env={})
    found = re.search(r"\(GNU Guile\) (3\.\d+(\.\d+)*)", answer.stdout)
    if not found:
        raise BuildError(f"{path} is not GNU Guile 3")
    return Guile(path, found[1])


def ensure(guile: Guile, base: Path) -> Path:
    """The folder under `base` that holds the compiled worker; made if it is not there. Safe to call concurrently."""
    folder = base / f"scheme-{guile.version}-{_digest()[:16]}"
    if folder.is_dir():
        return folder
    base.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="scheme-", dir=base))
    try:
        shutil.copytree(SOURCES, made / "ygg", ignore=shutil.ignore_patterns("*.go"))
        _compile(guile, made)
        made.chmod(0o755)
        made.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def command(guile: Guile, folder: Path) -> tuple[str, ...]:
    """Return the command line of a worker."""
    start = "((@ (ygg worker) main))"
    return (guile.path, "-q", "--no-auto-compile", "-L", str(folder), "-C", str(folder), "-c", start)


def _compile(guile: Guile, folder: Path) -> None:
    argv = [guile.path, "-q", "--no-auto-compile", "-L", str(folder), "-c", _BUILD, str(folder)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False, env=LOCALE)
    except subprocess.TimeoutExpired as e:
        raise BuildError(f"{guile.path} did not compile the worker within {BUILD_TIMEOUT_S:g} s") from e
    if done.returncode != 0:
        raise BuildError(f"{guile.path} cannot compile the worker: {done.stderr[-500:]}")


def _digest() -> str:
    digest = hashlib.sha256(_BUILD.encode())
    for source in sorted(SOURCES.glob("*.scm")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()


if __name__ == "__main__":
    try:
        print(ensure(find(), Path(sys.argv[1])))
    except BuildError as e:
        sys.exit(str(e))
