"""Hold the project's prose to its vocabulary: habits that make English hard to read may only become rarer.

    python -m tools.prose            print each habit's rate, and the files with most hits
    python -m tools.prose --check    exit status 1 unless every rate fits its budget in tools/prose.toml
    python -m tools.prose --lower    lower the budgets to the rates of today; never raises one

It reads docstrings, longer Python strings (help texts, errors), comments of all languages, and Markdown outside code.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "tools" / "prose.toml"
PER_WORDS = 10_000
SLACK = 0.3
"""A rate this much (per 10,000 words) below its budget means that the budget is out of date."""
MIN_STRING_WORDS = 4
"""A shorter Python string is a key or a name."""
SKIPPED = {"build", "gen", "dist", "node_modules", "third_party", "corpus", "vectors", "results"}
COMMENTS = {
    ".c": r"/\*.*?\*/|//[^\n]*",
    ".h": r"/\*.*?\*/|//[^\n]*",
    ".lua": r"--[^\n]*",
    ".proto": r"//[^\n]*",
    ".scm": r";[^\n]*",
    ".sh": r"#[^\n]*",
}


@dataclass(frozen=True, slots=True)
class Habit:
    """A pattern to avoid, its budget (hits per 10,000 words), and the words to use instead."""

    name: str
    pattern: re.Pattern[str]
    budget: float
    instead: str


@dataclass(slots=True)
class Measured:
    """Hits by habit and by file, of so many words."""

    words: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)

    def rate(self, habit: str) -> float:
        """Hits per 10,000 words."""
        return self.hits[habit] * PER_WORDS / max(self.words, 1)


def habits(rules: str) -> list[Habit]:
    """Return the habits of a rules file's text."""
    return [
        Habit(name, re.compile(rule["pattern"], re.IGNORECASE), float(rule["budget"]), rule["instead"])
        for name, rule in tomllib.loads(rules).items()
    ]


def sources(root: Path) -> Iterator[Path]:
    """Yield the files whose prose is read, in order."""
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or path.name in SKIPPED:
            continue
        if path.is_dir():
            yield from sources(path)
        elif path.suffix in {".py", ".md", *COMMENTS}:
            yield path


def prose(source: str, suffix: str) -> str:
    """Return the prose of a file's text."""
    if suffix == ".py":
        return _python(source)
    if suffix == ".md":
        return re.sub(r"```.*?```|`[^`\n]*`", " ", source, flags=re.DOTALL)
    return "\n".join(re.findall(COMMENTS[suffix], source, flags=re.DOTALL))


def _python(source: str) -> str:
    strings = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    texts = [value for value in strings if isinstance(value, str) and len(value.split()) >= MIN_STRING_WORDS]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return "\n".join([*texts, *(token.string for token in tokens if token.type == tokenize.COMMENT)])


def measure(rules: Sequence[Habit], texts: Iterator[tuple[str, str]]) -> Measured:
    """Count the habits in (file name, prose) pairs."""
    found = Measured()
    for name, text in texts:
        found.words += len(text.split())
        for habit in rules:
            hits = len(habit.pattern.findall(text))
            found.hits[habit.name] += hits
            found.files[name] += hits
    return found


def faults(rules: Sequence[Habit], found: Measured) -> list[str]:
    """Return one line for each habit whose rate is over its budget, or so far below that the budget must be lowered."""
    lines = []
    for habit in rules:
        rate = found.rate(habit.name)
        if rate > habit.budget:
            lines.append(f"{habit.name}: {rate:.1f} per 10,000 words, budget {habit.budget:g}; write {habit.instead}")
        elif rate < habit.budget - SLACK:
            lines.append(f"{habit.name}: {rate:.1f}, budget {habit.budget:g}; run: python -m tools.prose --lower")
    return lines


def lowered(rules: str, found: Measured) -> str:
    """Return the rules file's text with each budget at today's rate, rounded up, unless it is lower already."""
    for habit in habits(rules):
        tenths = int(found.rate(habit.name) * 10) + 1
        budget = min(habit.budget, tenths / 10)
        rules = re.sub(rf"(?ms)(^\[{habit.name}\]$.*?^budget = )[0-9.]+", rf"\g<1>{budget:g}", rules)
    return rules


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.prose", description=(__doc__ or "").partition("\n")[0])
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="exit status 1 unless every rate fits its budget")
    mode.add_argument("--lower", action="store_true", help="lower the budgets to the rates of today")
    parser.add_argument("--worst", type=int, default=10, metavar="N", help="print the N files with most hits (10)")
    parser.add_argument("files", nargs="*", type=Path, help="read these files only; by default the whole project")
    given = parser.parse_args(arguments)
    rules = habits(RULES.read_text())
    paths = given.files or sources(ROOT)
    found = measure(rules, ((str(path), prose(path.read_text(), path.suffix)) for path in paths))
    if given.lower:
        RULES.write_text(lowered(RULES.read_text(), found))
        return 0
    if given.check:
        lines = faults(rules, found)
        sys.stderr.write("".join(f"  {line}\n" for line in lines))
        return bool(lines)
    for habit in rules:
        print(f"{habit.name:12} {found.hits[habit.name]:5} {found.rate(habit.name):6.1f}  budget {habit.budget:g}")
    for name, hits in found.files.most_common(given.worst):
        if hits:
            print(f"{hits:5}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
