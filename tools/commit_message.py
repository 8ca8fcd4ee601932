"""Check a commit message: `scope: imperative subject` of at most 72 characters, then a blank line, then why.

    python -m tools.commit_message FILE    exit status 1, and one line for each fault

`make hooks` installs it as this checkout's commit-msg hook.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

MAX_SUBJECT, MAX_LINE = 72, 100
_SUBJECT = re.compile(r"[a-z][a-z0-9/_.-]*: (?P<verb>\S+)( .*)?")
_GIT = re.compile(r"(Merge|Revert|fixup!|squash!|amend!) ")
"""Subjects that git writes itself."""
_PAST_OR_PROGRESSIVE = re.compile(r"\w{2,}(?<![ern])(?:ed|ing)\b")
_IMPERATIVE = frozenset({"bring", "embed", "string"})
_SCISSORS = "# ------------------------ >8"


def faults(message: str) -> list[str]:
    """Return one line for each rule that the message breaks."""
    lines = [line for line in message.split(_SCISSORS, maxsplit=1)[0].splitlines() if not line.startswith("#")]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        return ["the message is empty"]
    subject, body = lines[0], lines[1:]
    if _GIT.match(subject):
        return []
    found = []
    matched = _SUBJECT.fullmatch(subject)
    if matched is None:
        found.append("the subject is not `scope: imperative`, such as `bridge: reject a second Hello`")
    elif _PAST_OR_PROGRESSIVE.fullmatch(matched["verb"]) and matched["verb"] not in _IMPERATIVE:
        found.append(f"the subject's verb {matched['verb']!r} is not imperative")
    if len(subject) > MAX_SUBJECT:
        found.append(f"the subject has {len(subject)} characters; the limit is {MAX_SUBJECT}")
    if subject.endswith("."):
        found.append("the subject ends with a full stop")
    if body and body[0].strip():
        found.append("the second line is not blank")
    found.extend(
        f"line {number} has {len(line)} characters; the limit is {MAX_LINE}"
        for number, line in enumerate(body, 2)
        if len(line) > MAX_LINE and " " in line.strip()
    )
    return found


def main(arguments: Sequence[str]) -> int:
    """Check the message in the file named by the only argument; return the exit status."""
    (path,) = arguments
    found = faults(Path(path).read_text(encoding="utf-8"))
    sys.stderr.write("".join(f"commit message: {line}\n" for line in found))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
