"""The check of prose: its input, its counts, and budgets that only go down."""

from __future__ import annotations

import pytest

from tools import prose
from tools.prose import Habit, Measured

RULES = """
[utilize]
pattern = '\\b[Uu]tilize\\b'
budget = 2.5
instead = "must"

[moreover]
pattern = '\\bmoreover\\b'
budget = 4
instead = "the caller"
"""


def measured(utilize: int, moreover: int, words: int = 10_000) -> Measured:
    found = Measured(words)
    found.hits.update({"utilize": utilize, "moreover": moreover})
    return found


@pytest.mark.parametrize(
    ("suffix", "source"),
    [
        (".py", '"""Never utilize it here."""'),
        (".py", "x = 1  # they utilize it here"),
        (".py", 'raise E("they utilize it here")'),
        (".md", "Never utilize it here.\n"),
        (".c", "int x; /* it\n utilize */"),
        (".h", "int x; // utilize"),
        (".lua", "local x = 1 -- utilize"),
        (".proto", "// Never utilize it here."),
        (".scm", "(f) ; utilize"),
        (".sh", "f # utilize"),
    ],
)
def test_prose_reads_comments_docstrings_and_documents(suffix: str, source: str) -> None:
    assert "utilize" in prose.prose(source, suffix)


@pytest.mark.parametrize(
    ("suffix", "source"),
    [
        (".py", "utilize = 1"),
        (".py", 'key = "utilize"'),
        (".md", "```\nutilize\n```\nand `utilize`"),
        (".c", "int utilize;"),
        (".proto", "string utilize = 1;"),
    ],
)
def test_prose_skips_code(suffix: str, source: str) -> None:
    assert "utilize" not in prose.prose(source, suffix)


def test_measure_counts_hits_by_habit_and_file() -> None:
    texts = [("a", "Utilize it, utilize it."), ("b", "moreover"), ("c", "reutilize")]
    found = prose.measure(prose.habits(RULES), iter(texts))
    assert (found.words, found.hits["utilize"], found.hits["moreover"]) == (6, 2, 1)
    assert (found.files["a"], found.files["b"], found.files["c"]) == (2, 1, 0)


def test_check_passes_within_budget() -> None:
    assert prose.faults(prose.habits(RULES), measured(utilize=2, moreover=4, words=9_000)) != []
    assert prose.faults(prose.habits(RULES), measured(utilize=25, moreover=40, words=100_000)) == []


def test_check_fails_over_budget_with_the_words_to_use() -> None:
    (line,) = prose.faults(prose.habits(RULES), measured(utilize=3, moreover=4))
    assert line == "utilize: 3.0 per 10,000 words, budget 2.5; write must"


def test_check_fails_when_budget_is_out_of_date() -> None:
    (line,) = prose.faults(prose.habits(RULES), measured(utilize=1, moreover=4))
    assert "--lower" in line


def test_lowered_budgets_never_rise() -> None:
    rules = prose.lowered(RULES, measured(utilize=1, moreover=9))
    assert [(habit.name, habit.budget) for habit in prose.habits(rules)] == [("utilize", 1.1), ("moreover", 4.0)]
    assert prose.habits(prose.lowered(RULES, measured(1, 2)))[1] == Habit(
        "moreover", prose.habits(RULES)[1].pattern, 2.1, "the caller"
    )


def test_sources_leave_generated_and_hidden_files_out() -> None:
    names = {str(path.relative_to(prose.ROOT)) for path in prose.sources(prose.ROOT)}
    assert {"README.md", "services/chassis/server.py", "firmware/core/agent.c"} <= names
    assert not [name for name in names if name.startswith(("gen/", "build/", "."))]
