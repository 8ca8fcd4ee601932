"""A stream read at once and fast, by a thread of its own: what a view needs that begins from nothing.

The NATS client protocol over a blocking socket, with what reading takes and no more: an ephemeral pull consumer and
large pulls. nats-py costs some fifty microseconds a message (a task switch, a message object, a parser of headers);
this costs some seven. It neither reconnects nor waits for more: `follow` goes on where it ends.
Source: NATS client protocol; ADR-37 (pull consumers); ADR-15 (reply subjects of JetStream).
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import ssl
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from services.chassis.errors import StoreUnavailableError
from services.chassis.nats import SERVER

PULL = 2048
TIMEOUT_S = 10.0
"""For the server to send something."""
PULL_EXPIRES_S = 3600.0
"""A pull stays open however long its reader takes over the one before."""
_RECEIVE = 1 << 18
# Subject, sequence of the stream, of the consumer, how many are pending, bytes of the headers, bytes altogether.
_DELIVERED = re.compile(rb"H?MSG ([^ ]+) 1 \$JS\.ACK\.(?:[^. ]+\.){3,5}?(\d+)\.(\d+)\.\d+\.(\d+) (?:(\d+) )?(\d+)\r\n")
_GONE = (b"KV-Operation", b"Nats-Marker-Reason")
_ANSWERED = re.compile(rb"MSG \S+ \S+ (?P<size>\d+)\r\n")


class Change(NamedTuple):
    """A message of a key-value bucket's stream: the key, its sequence, the value; `deleted` for a delete marker."""

    key: str
    sequence: int
    data: bytes
    deleted: bool


class StreamReader:
    """Reads one stream after the other, each over a connection of its own. For one thread at a time."""

    def __init__(self, url: str, context: ssl.SSLContext, inbox_prefix: str) -> None:
        self._url, self._context = url, context
        self._inbox = f"{inbox_prefix}.{secrets.token_hex(11)}"
        self._socket: socket.socket | None = None
        self._data, self._at = b"", 0

    def read(self, stream: str, prefix: str, *, after: int, until: int) -> Iterator[list[Change]]:
        """Batches in order from the first message after `after` to the last one up to `until`.

        `prefix` is that of the subjects, and what follows it is the key. Raises StoreUnavailableError.
        """
        if after >= until:
            return
        try:
            self._connect()
            yield from self._read(stream, len(prefix), after, until)
        except (OSError, ValueError, KeyError) as e:
            raise StoreUnavailableError(f"stream {stream} could not be read to its end: {e or type(e).__name__}") from e
        finally:  # messages that were asked for and not wanted any more end with the connection
            if self._socket is not None:
                self._socket.close()

    def _connect(self) -> None:
        self._data, self._at = b"", 0
        place = urlsplit(self._url)
        plain = self._socket = socket.create_connection((place.hostname or "", place.port or 4222), TIMEOUT_S)
        if not plain.recv(_RECEIVE).startswith(b"INFO "):  # one short line, which comes before TLS
            raise ValueError("no NATS server")
        self._socket = self._context.wrap_socket(plain, server_hostname=SERVER)
        options = {"verbose": False, "pedantic": False, "headers": True, "name": "bulk reader"}
        self._send(f"CONNECT {json.dumps(options)}\r\nSUB {self._inbox} 1\r\n".encode())

    def _send(self, data: bytes) -> None:
        assert self._socket is not None  # noqa: S101 - only after _connect
        self._socket.sendall(data)

    def _request(self, subject: str, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self._send(f"PUB {subject} {self._inbox} {len(data)}\r\n".encode() + data + b"\r\n")

    def _more(self) -> None:
        """Receives more behind what is not parsed yet."""
        assert self._socket is not None  # noqa: S101 - only after _connect
        more = self._socket.recv(_RECEIVE)
        if not more:
            raise OSError("the connection was closed")
        self._data, self._at = self._data[self._at :] + more, 0

    def _other_line(self) -> bool:
        """Takes a line that delivers nothing; False where there is no whole line. Raises for what ends a pull early."""
        end = self._data.find(b"\r\n", self._at)
        if end < 0:
            return False
        line = self._data[self._at : end]
        if line == b"PING":
            self._send(b"PONG\r\n")
        elif line.startswith((b"-ERR", b"HMSG", b"MSG")):
            raise ValueError(f"NATS said {self._data[self._at : end + 80]!r}")
        self._at = end + 2
        return True

    def _answer(self) -> dict[str, Any]:
        """The answer to a request of JetStream's API."""
        while True:
            found = _ANSWERED.match(self._data, self._at)
            if found and len(self._data) >= found.end() + int(found["size"]) + 2:
                end = found.end() + int(found["size"])
                self._at = end + 2
                answer: dict[str, Any] = json.loads(self._data[found.end() : end])
                if "error" in answer:
                    raise ValueError(answer["error"].get("description", "refused"))
                return answer
            if found or not self._other_line():
                self._more()

    def _read(self, stream: str, prefix: int, after: int, until: int) -> Iterator[list[Change]]:
        config: dict[str, Any] = {"ack_policy": "none", "mem_storage": True, "num_replicas": 1}
        config["inactive_threshold"] = int(30e9)
        config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1} if after else {}
        self._request(f"$JS.API.CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": config})
        made = self._answer()
        if made.get("num_pending", 0) == 0:
            return
        pull = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{made['name']}"
        ask = {"batch": PULL, "expires": int(PULL_EXPIRES_S * 1e9)}
        self._request(pull, ask)
        received = 0
        while True:
            self._request(pull, ask)  # one ahead of what is being taken
            batch, done = self._take(prefix, received, until)
            received += PULL
            if batch:
                yield batch
            if done:
                return

    def _take(self, prefix: int, received: int, until: int) -> tuple[list[Change], bool]:
        """A pull's messages, and whether the last one wanted is among them."""
        batch: list[Change] = []
        match, add, make = _DELIVERED.match, batch.append, tuple.__new__
        data, at, count = self._data, self._at, 0
        while count < PULL:
            found = match(data, at)
            if found is None or len(data) < found.end() + int(found[6]) + 2:
                self._at = at
                if found or not self._other_line():
                    self._more()
                data, at = self._data, self._at
                continue
            subject, stream_sequence, number, pending, head, size = found.groups()
            start = begin = found.end()
            end, sequence = start + int(size), int(stream_sequence)
            count += 1
            if int(number) != received + count:
                raise ValueError("messages were lost")
            deleted = False
            if head:
                begin += int(head)
                deleted = data.find(_GONE[0], start, begin) >= 0 or data.find(_GONE[1], start, begin) >= 0
            at = end + 2
            if sequence <= until:
                add(make(Change, (subject[prefix:].decode(), sequence, data[begin:end], deleted)))
            if sequence >= until or pending == b"0":
                self._at = at
                return batch, True
        self._at = at
        return batch, False
