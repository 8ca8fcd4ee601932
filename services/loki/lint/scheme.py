"""Scheme: undefined names, calls that no contract has, quoted data that was meant to be evaluated, schedules.

A name counts as defined if the script binds it anywhere, and the use or template of a macro is not checked. So a
finding is an error, and errors may be missed.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterator

from services.domain.values import Value
from services.loki.lint import declared, dialect, waits
from services.loki.lint.contracts import Contracts
from services.loki.lint.dialect import Dialect
from services.loki.lint.findings import Finding, Severity
from services.loki.lint.names import SCHEME_TEST_NAMES, scheme_names
from services.loki.lint.schedules import schedule
from services.loki.lint.scheme_calls import Arity, Calls, arity
from services.loki.lint.scheme_reader import Node, read

MAX_SUGGESTIONS = 50  # names that are compared with all others; a text may have ten thousands
_DEFINES = frozenset(
    ("define", "define*", "define-values", "define-record-type", "define-syntax", "define-syntax-rule")
)
_LAMBDAS = frozenset(("lambda", "lambda*", "λ", "case-lambda", "case-lambda*"))
_LETS = frozenset(
    ("let", "let*", "letrec", "letrec*", "do", "let-values", "let*-values", "and-let*", "parameterize", "let-syntax")
)
_PATHS = {"property-read": "read", "property-write!": "write", "call": "call"}
_LEFT_ALONE = frozenset(
    (
        *("define-syntax", "define-syntax-rule", "let-syntax", "letrec-syntax", "syntax-rules"),
        *("export", "define-record-type"),
    )
)


def lint(source: str, contracts: Contracts) -> list[Finding]:
    """Return the findings, in no order."""
    known = scheme_names(dialect.of(source)) | SCHEME_TEST_NAMES
    return list(_Scheme(read(source), contracts, declared.packages(source), known).findings())


class _Scheme:
    def __init__(
        self, forms: list[Node], contracts: Contracts, packages: Collection[str], known: frozenset[str]
    ) -> None:
        self._forms, self._contracts, self._packages, self._known = forms, contracts, packages, known
        self._macros: set[str] = set()
        self._own: set[str] = set()
        self._times: Counter[str] = Counter()  # how often each of these is bound
        self._meant: dict[str, str] = {}  # suggestions by name
        self._prefixes: set[str] = set()  # that names of packages may begin with; "" where all of one are imported
        for form in forms:
            self._bind(form)
        self._top = frozenset(map(id, forms))
        self._calls = Calls(contracts, dict(self._procedures()))

    def _note(self, names: Collection[str]) -> None:
        self._own |= set(names)
        self._times.update(names)

    def _procedures(self) -> Iterator[tuple[str, Arity]]:
        """Return the procedures defined at the top level and bound nowhere else."""
        for form in self._forms:
            target = form.items[1] if form.head() == "define" and len(form.items) > 1 else None
            if target is not None and target.head() and self._times[target.head()] == 1:
                found = arity(target)
                if found is not None:
                    yield target.head(), found

    def _bind(self, node: Node) -> None:
        """Record every name bound in `node`."""
        head = node.head()
        if head in ("quote", "syntax-rules"):
            return
        if head in ("define-syntax", "define-syntax-rule") and len(node.items) > 1:
            self._macros |= set(_symbols(node.items[1])[:1])
        if head == "define-record-type":
            self._note([name for item in node.items[1:] for name in _symbols(item)])
        elif head in _DEFINES or head == "receive":
            self._note(_symbols(node.items[1]) if len(node.items) > 1 else [])
        elif head in _LAMBDAS:
            formals = [i.items[0] for i in node.items[1:] if i.items] if head.startswith("case") else node.items[1:2]
            self._note([name for formal in formals for name in _symbols(formal)])
        elif head in _LETS:
            self._bind_let(node)
        elif head == "import":
            for item in node.items[1:]:
                self._import(item)
        elif head == "set!" and len(node.items) > 1:
            self._times.update(_symbols(node.items[1]))  # so it may take something else from then on
        elif head == "guard" and len(node.items) > 1:
            self._note(_symbols(node.items[1])[:1])
        for item in node.items:
            self._bind(item)

    def _bind_let(self, node: Node) -> None:
        at = 1
        if len(node.items) > 2 and node.items[1].kind == "symbol":
            self._note([node.items[1].text])
            at = 2
        if len(node.items) > at:
            for binding in node.items[at].items:
                self._note(_symbols(binding.items[0] if binding.items else binding))

    def _import(self, node: Node) -> None:
        """Return the names that an import set binds: (only (package units) f), (prefix (package units) u:)."""
        if not _package(node):
            return
        if node.head() == "only":
            self._note([name for item in node.items[2:] for name in _symbols(item)])
        elif node.head() == "prefix" and len(node.items) > 2:
            self._prefixes.add(node.items[2].text)
        else:
            self._prefixes.add("")

    def findings(self) -> Iterator[Finding]:
        """Return all findings of the text."""
        for form in self._forms:
            yield from self._walk(form, elsewhere=False)
        yield from waits.scheme(self._forms, self._own)

    def _walk(self, node: Node, *, elsewhere: bool) -> Iterator[Finding]:
        """`elsewhere`: within a with-device, which has another contract than the targets."""
        if node.kind == "symbol":
            yield from self._name(node, elsewhere)
        elif node.kind == "list" and node.items:
            head = node.head()
            if head == "quote" and len(node.items) == 2:
                yield from self._quoted(node)
            elif head == "quasiquote":
                yield from self._unquoted(node, elsewhere)
            elif head == "import":
                yield from self._imported(node)
            elif head in _LEFT_ALONE or head in self._macros:
                return
            else:
                yield from self._operation(node, head, elsewhere)
                yield from self._parts(node, head, elsewhere)

    def _imported(self, node: Node) -> Iterator[Finding]:
        for item in node.items[1:]:
            name = _package(item)
            if name and name not in self._packages:
                yield Finding(item.line, item.column, "NOT_DECLARED", declared.not_declared(name))

    def _parts(self, node: Node, head: str, elsewhere: bool) -> Iterator[Finding]:
        items = node.items
        if head in ("case", "case-lambda") and len(items) > 2 and head == "case":
            yield from self._walk(items[1], elsewhere=elsewhere)
            items = [part for clause in items[2:] for part in clause.items[1:]]
        for item in items:
            yield from self._walk(item, elsewhere=elsewhere or head == "with-device")

    def _unquoted(self, node: Node, elsewhere: bool) -> Iterator[Finding]:
        for item in node.items[1:]:
            if item.head() in ("unquote", "unquote-splicing"):
                for part in item.items[1:]:
                    yield from self._walk(part, elsewhere=elsewhere)
            elif item.items:
                yield from self._unquoted(Node("list", item.line, item.column, items=[item, *item.items]), elsewhere)

    def _name(self, node: Node, elsewhere: bool) -> Iterator[Finding]:
        name = node.text
        if name in self._known or name in self._own or name in self._macros or name.startswith("#"):
            return
        spelled = name.removesuffix("!").replace("-", "_")
        if spelled.startswith(("read_", "set_")):
            if self._contracts and not elsewhere and (fault := self._contracts.convenience(spelled)):
                yield from _contract(node, f"{fault}{self._suggestion(name.removesuffix('!'))}")
            return
        if not any(name.startswith(prefix) for prefix in self._prefixes):
            yield Finding(node.line, node.column, "UNDEFINED", f"{name} is defined nowhere{self._suggestion(name)}")

    def _suggestion(self, name: str) -> str:
        """Return a suggestion as a sentence; "" if no name is similar."""
        if name in scheme_names(Dialect.STEEL) and name not in self._known:
            return "; the dialect steel has it: (import (yggdrasil steel))"
        if name not in self._meant and len(self._meant) < MAX_SUGGESTIONS:
            near = difflib.get_close_matches(name, sorted(self._known | self._own), n=1, cutoff=0.75)
            self._meant[name] = f". Did you mean {near[0]}?" if near else ""
        return self._meant.get(name, "")

    def _operation(self, node: Node, head: str, elsewhere: bool) -> Iterator[Finding]:
        if node.dotted:
            return
        if head in self._own:
            yield from self._calls.of_own(node, head)
            return
        yield from self._calls.of_host(node, head, top=id(node) in self._top, elsewhere=elsewhere)
        first = node.items[1] if len(node.items) > 1 else None
        if head == "schedule" and first is not None and first.kind == "string":
            yield schedule(first.text, first.line, first.column)
        if not self._contracts or elsewhere:
            return
        if head in _PATHS and first is not None and first.kind == "string":
            fault = self._contracts.path(first.text, _PATHS[head])
            yield from _contract(first, fault)
            if not fault:
                yield from self._arguments(node, head, first.text)
        elif head in ("led-on", "led-off", "led-state"):
            named = first is not None and first.kind == "string"
            fault = self._contracts.capability(first.text) if named and first else self._contracts.led()
            yield from _contract(first if named and first else node, fault)

    def _arguments(self, node: Node, head: str, path: str) -> Iterator[Finding]:
        given = node.items[2] if len(node.items) > 2 else None
        if given is None or head not in ("call", "property-write!"):
            return
        if head == "property-write!":
            known, value = _literal(given)
            fault = self._contracts.value(path, value) if known else ""
            yield from _contract(given, fault, "ARGUMENT_NOT_IN_CONTRACT")
            return
        if given.head() not in ("quote", "quasiquote") or len(given.items) != 2:
            return
        for pair in given.items[1].items:
            if pair.dotted and len(pair.items) == 2:
                known, value = _literal(pair.items[1])
                fault = self._contracts.arguments(path, {pair.items[0].text: value}) if known else ""
                yield from _contract(pair, fault, "ARGUMENT_NOT_IN_CONTRACT")

    def _quoted(self, node: Node) -> Iterator[Finding]:
        """'((temperature . temp)) where temp is a variable, or '((t . (read-temp0))) if that is a call."""
        for pair in node.items[1].items:
            if pair.kind != "list" or not pair.items or pair.items[0].kind != "symbol" or len(pair.items) < 2:
                continue
            value = pair.items[1]
            plain = value.kind == "symbol" and len(pair.items) == 2 and value.text in self._own
            if plain or self._is_call(value):
                what = f"the symbol {value.text}" if plain else "the words of a call"
                message = f"'{_text(node.items[1])} is quoted, so it sends {what} and not its value."
                message += f" Write `{_evaluated(node.items[1], pair)}"
                yield Finding(node.line, node.column, "QUOTED", message, Severity.WARNING)
                return

    def _is_call(self, value: Node) -> bool:
        head = value.head()
        read = head.replace("-", "_").startswith("read_")
        return bool(head) and (read or head in self._own or head in self._known)


def _contract(node: Node, fault: str, rule: str = "NOT_IN_CONTRACT") -> Iterator[Finding]:
    if fault:
        yield Finding(node.line, node.column, rule, fault)


def _package(node: Node) -> str:
    """Return the package of an import set, empty if it has none."""
    if node.head() in ("only", "except", "prefix", "rename") and len(node.items) > 1:
        return _package(node.items[1])
    return node.items[1].text if node.head() == "package" and len(node.items) == 2 else ""


def _symbols(node: Node) -> list[str]:
    """Return the symbols of formals or of a binding, with those of optional ones."""
    if node.kind == "symbol":
        return [node.text]
    return [name for item in node.items for name in _symbols(item)]


def _literal(node: Node) -> tuple[bool, Value]:
    """Return whether a datum is a literal, and its value."""
    if node.kind == "string" and "\\" not in node.text:
        return True, node.text
    if node.text in ("#t", "#true", "#f", "#false"):
        return True, node.text in ("#t", "#true")
    if node.kind == "other" and not node.text.startswith("#"):
        try:
            return True, int(node.text)
        except ValueError:
            try:
                return True, float(node.text)
            except ValueError:
                return False, None
    return False, None


def _text(node: Node) -> str:
    """Return a datum as it is written."""
    if node.kind == "string":
        return f'"{node.text}"'
    if node.kind not in ("list", "vector"):
        return node.text
    parts = [_text(item) for item in node.items]
    if node.dotted and len(parts) > 1:
        parts.insert(-1, ".")
    return f"{'#' if node.kind == 'vector' else ''}({' '.join(parts)})"


def _evaluated(alist: Node, wrong: Node) -> str:
    """Return the list with the value of one pair to be evaluated."""
    parts = [
        f"({pair.items[0].text} . ,{_text(pair.items[1])})" if pair is wrong else _text(pair) for pair in alist.items
    ]
    return f"({' '.join(parts)})"
