"""Label selectors: selected devices, compared with a naive evaluator, and the position of a fault."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import InvalidRequestError
from services.domain.selectors import MAX_TERMS, MAX_VALUES, Operator, Selector, Term, parse_selector

KEYS = st.sampled_from(["zone", "floor", "a.b/c", "in", "notin", "x-1"])
VALUES = st.sampled_from(["", "hall", "2", "A_b.c-d", "in"])
LABELS = st.dictionaries(KEYS, VALUES)
WORDS = st.one_of(KEYS, KEYS.map(lambda key: f"!{key}"))
PAIRS = st.tuples(KEYS, st.sampled_from(["=", "==", "!="]), VALUES)
SETS = st.tuples(KEYS, st.sampled_from(["in", "notin"]), st.lists(VALUES, min_size=1, max_size=3))


def naive(term: object, labels: dict[str, str]) -> bool:
    """The meaning of the generated term, by the Kubernetes documentation."""
    if isinstance(term, str):
        return term[1:] not in labels if term.startswith("!") else term in labels
    assert isinstance(term, tuple)
    key, operator, wanted = term
    if operator in ("=", "=="):
        return key in labels and labels[key] == wanted
    if operator == "!=":
        return not (key in labels and labels[key] == wanted)
    inside = key in labels and labels[key] in wanted
    return inside if operator == "in" else not inside


def written(term: object, gap: str) -> str:
    if isinstance(term, str):
        return term
    assert isinstance(term, tuple)
    key, operator, wanted = term
    if isinstance(wanted, str):
        return f"{key}{gap}{operator}{gap}{wanted}"
    return f"{key} {operator}{gap}({gap}{f'{gap},{gap}'.join(wanted)}{gap})"


@given(st.lists(st.one_of(WORDS, PAIRS, SETS), max_size=6), LABELS, st.sampled_from(["", " ", "  "]))
def test_ours_selects_as_the_naive_evaluator_does(terms: list[object], labels: dict[str, str], gap: str) -> None:
    text = gap + f"{gap},{gap}".join(written(term, gap) for term in terms) + gap
    selector = parse_selector(text)
    assert selector.matches(labels) is all(naive(term, labels) for term in terms)
    assert [naive(term, labels) for term in terms].count(False) == len(selector.failing(labels))
    assert parse_selector(str(selector)) == selector


@pytest.mark.parametrize("text", ["", "  ", "*", " * "])
def test_nothing_and_an_asterisk_select_all(text: str) -> None:
    assert parse_selector(text) == Selector()
    assert parse_selector(text).matches({})
    assert str(parse_selector(text)) == "*"


@pytest.mark.parametrize("text", ["*,zone=hall", "zone=hall,*", "*=hall", "**"])
def test_an_asterisk_stands_alone(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_selector(text)


def test_every_form_of_a_term() -> None:
    terms = parse_selector("zone=hall,floor!=2,tier in (b,a,b),stage notin (test),canary,!old,empty=,a==b").terms
    assert terms == (
        Term("zone", Operator.IN, ("hall",)),
        Term("floor", Operator.NOT_IN, ("2",)),
        Term("tier", Operator.IN, ("a", "b")),
        Term("stage", Operator.NOT_IN, ("test",)),
        Term("canary", Operator.EXISTS),
        Term("old", Operator.ABSENT),
        Term("empty", Operator.IN, ("",)),
        Term("a", Operator.IN, ("b",)),
    )


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("Zone=hall", 0),
        ("zone=hall,Floor=2", 10),
        ("zone=hall,floor=2,=x", 18),
        ("zone=hall,", 10),
        (",zone=hall", 0),
        ("zone=hall,,floor=2", 10),
        ("zone=a=b", 6),
        ("a,b,c d", 6),
        ("zone=ha*l", 5),
        ("!", 1),
        ("!!zone", 1),
        ("zone in", 7),
        ("zone in a", 8),
        ("zone in (a", 10),
        ("zone in (a b)", 11),
        ("zone in (a,b*)", 11),
        ("zone in (a),", 12),
        ("zone notin (a=b)", 13),
        ("(zone)", 0),
        ("zone)", 4),
        ("zone=" + "x" * 64, 5),
        (",".join(["zone"] * (MAX_TERMS + 1)), 5 * MAX_TERMS - 1),
        (f"zone in ({','.join(['v'] * (MAX_VALUES + 1))})", 9 + 2 * MAX_VALUES - 1),
        ("z" * 5000, 4096),
    ],
)
def test_a_bad_selector_is_refused_with_the_position(text: str, position: int) -> None:
    with pytest.raises(InvalidRequestError, match=f"at position {position}:") as e:
        parse_selector(text)
    assert e.value.data["position"] == str(position)
    assert e.value.hint


@given(st.one_of(st.text(max_size=80), st.text("abz =!,()in", max_size=30)))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        selector = parse_selector(text)
    except InvalidRequestError as e:
        assert e.message.isprintable()
        assert 0 <= int(e.data["position"]) <= len(text)
    else:
        assert parse_selector(str(selector)) == selector
