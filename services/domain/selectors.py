"""Label selectors, as in Kubernetes: `zone=hall,floor!=2,tier in (a,b),stage notin (test),canary,!old`.

    selector = [ "*" | term *( "," term ) ]
    term     = key | "!" key | key ( "=" | "==" | "!=" ) [ value ] | key ( "in" | "notin" ) "(" values ")"
    values   = [ value ] *( "," [ value ] )

All terms must match; `*` and the empty selector match everything. `!=` and `notin` also match if the key is missing.
Spaces between the parts are ignored. Pure. Source: kubernetes.io, "Labels and Selectors".
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.domain import ids
from services.domain.errors import InvalidIdError, InvalidRequestError

ALL = "*"
MAX_TEXT = 4096
"""Length of a selector, in characters."""
MAX_TERMS = 32
MAX_VALUES = 64
"""Values of one term."""
_HINT = "Example: zone=hall,floor!=2,tier in (a,b),stage notin (test),canary,!old."
_TOKEN = re.compile(r"\s*(?:(?P<word>[^\s,()=!]+)|(?P<sign>==|=|!=|!|\(|\)|,))")


class Operator(enum.Enum):
    """The operator of a term."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Term:
    """One condition; `=` and `!=` are IN and NOT_IN of one value. Values are sorted and unique."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Return whether the labels match the term."""
        match self.operator:
            case Operator.EXISTS:
                return self.key in labels
            case Operator.ABSENT:
                return self.key not in labels
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values

    def __str__(self) -> str:
        """Return the term as text."""
        if self.operator in (Operator.EXISTS, Operator.ABSENT):
            return self.key if self.operator is Operator.EXISTS else f"!{self.key}"
        if len(self.values) == 1:
            return f"{self.key}{'=' if self.operator is Operator.IN else '!='}{self.values[0]}"
        return f"{self.key} {self.operator.value} ({','.join(self.values)})"


@dataclass(frozen=True, slots=True)
class Selector:
    """Terms that must all match; without terms, everything matches."""

    terms: tuple[Term, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether the labels match every term."""
        return all(term.holds(labels) for term in self.terms)

    def failing(self, labels: Mapping[str, str]) -> tuple[Term, ...]:
        """Return the terms that the labels do not match."""
        return tuple(term for term in self.terms if not term.holds(labels))

    def __str__(self) -> str:
        """Return the selector as text."""
        return ",".join(map(str, self.terms)) or ALL


def parse_selector(text: str) -> Selector:
    """Return the selector; raises InvalidRequestError with the position of the fault, in characters from 0."""
    if len(text) > MAX_TEXT:
        raise _fault(MAX_TEXT, f"it is {len(text)} characters long, at most {MAX_TEXT} are allowed")
    return Selector() if text.strip() in ("", ALL) else _Parser(text).selector()


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    at: int
    word: bool = False


class _Parser:
    """A tokenizer with one token of look-ahead; the last token is empty, at the end of the text."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = next(self._tokens)

    def _take(self) -> _Token:
        taken = self._next
        if taken.text:
            self._next = next(self._tokens)
        return taken

    def selector(self) -> Selector:
        terms = [self._term()]
        while self._next.text:
            comma = self._take()
            if comma.text != ",":
                raise _fault(comma.at, f"expected a comma or the end, not {ids.printable(comma.text)!r}")
            if len(terms) == MAX_TERMS:
                raise _fault(comma.at, f"more than {MAX_TERMS} terms")
            terms.append(self._term())
        return Selector(tuple(terms))

    def _term(self) -> Term:
        if self._next.text == "!":
            self._take()
            return Term(self._key(), Operator.ABSENT)
        key, operator = self._key(), self._next.text
        if operator in ("=", "==", "!="):
            self._take()
            values: tuple[str, ...] = (self._value(),)
            return Term(key, Operator.NOT_IN if operator == "!=" else Operator.IN, values)
        if operator in ("in", "notin"):
            self._take()
            return Term(key, Operator(operator), self._values())
        return Term(key, Operator.EXISTS)

    def _key(self) -> str:
        token = self._take()
        if not token.word:
            raise _fault(token.at, f"expected a label key, not {_quoted(token)}")
        try:
            return ids.label_key(token.text)
        except InvalidIdError as e:
            raise _fault(token.at, e.message, e.hint) from e

    def _value(self) -> str:
        if not self._next.word:
            return ""  # `zone=` matches the empty value
        token = self._take()
        try:
            return ids.label_value(token.text)
        except InvalidIdError as e:
            raise _fault(token.at, e.message, e.hint) from e

    def _values(self) -> tuple[str, ...]:
        opening = self._take()
        if opening.text != "(":
            raise _fault(opening.at, f"expected (, not {_quoted(opening)}")
        values = [self._value()]
        while (token := self._take()).text == ",":
            if len(values) == MAX_VALUES:
                raise _fault(token.at, f"more than {MAX_VALUES} values")
            values.append(self._value())
        if token.text != ")":
            raise _fault(token.at, f"expected ), not {_quoted(token)}")
        return tuple(sorted(set(values)))


def _tokens(text: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(text):
        yield _Token(found["word"] or found["sign"], found.start(found.lastgroup or 0), found.lastgroup == "word")
    yield _Token("", len(text))


def _quoted(token: _Token) -> str:
    return repr(ids.printable(token.text)) if token.text else "the end"


def _fault(position: int, message: str, hint: str = "") -> InvalidRequestError:
    return InvalidRequestError(
        f"selector, at position {position}: {message}", hint=hint or _HINT, field="selector", position=position
    )
