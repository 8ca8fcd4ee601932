"""HOST:PORT, IPv6 included."""

import pytest

from services.domain import endpoints
from services.domain.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("mesh_1.lan:65535", "mesh_1.lan", 65535),
        ("[::1]:7443", "::1", 7443),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("[::ffff:10.0.0.1]:1", "::ffff:10.0.0.1", 1),
    ],
)
def test_split_and_join_are_inverse(text: str, host: str, port: int) -> None:
    assert endpoints.split(text) == (host, port)
    assert endpoints.join(host, port) == text


def test_join_leaves_brackets_that_are_there() -> None:
    assert endpoints.join("[::1]", 1) == "[::1]:1"


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":1", "host:65536", "::1:7443", "[host]:1", "[::1]", "a b:1", "h:1\n"]
)
def test_split_refuses_invalid_endpoint(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="must be HOST:PORT, such as"):
        endpoints.split(text)
