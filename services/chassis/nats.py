"""The connection to NATS: TLS, the service's own certificate as its credential, unlimited reconnects.

Owns connecting, checks before sending, and conversion of nats-py's exceptions. Buckets are in `kv`, streams in
`streams`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from services.chassis.errors import RevisionConflictError, StoreFullError, StoreUnavailableError, TooLargeError
from services.chassis.identity import IdentityFiles
from services.domain import subjects
from services.domain.errors import YggError

SERVER = "nats"
"""The name in the server's certificate: no other service is accepted in its place."""
REQUEST_TIMEOUT_S = 5.0
"""Timeout of every request to JetStream, in seconds."""
RECONNECT_WAIT_S = 0.25
"""Pause between attempts to reconnect, in seconds: short, because every service depends on NATS."""
ERROR_REPEAT_S = 10.0
"""Minimum interval between two log lines of the same error, in seconds."""
MAX_LOGGED_ERRORS = 32
"""Different errors whose last log time is remembered."""
STORAGE_FULL = frozenset({10002, 10023, 10028, 10047})
"""JetStream's error codes when a limit of account, server, memory or storage is reached."""
_STREAM_FULL = frozenset({10077})
"""Error codes when a stream that drops nothing has reached its maximum bytes or messages; also any store failure."""
_HEADER_LINE_BYTES = 4
_HEADERS_BYTES = 12
"""Overhead of each header in addition to its name and value, and of all headers together (ADR-4)."""
_MESSAGE_TOO_LARGE = 10054
"""JetStream's error code when a message exceeds the maximum of its stream."""
_log = logging.getLogger(__name__)
_UNAVAILABLE = (
    nats.errors.TimeoutError,
    nats.errors.NoRespondersError,
    nats.errors.NoServersError,
    nats.errors.ConnectionClosedError,
    nats.errors.ConnectionReconnectingError,
    nats.errors.OutboundBufferLimitError,
    nats.js.errors.ServiceUnavailableError,
    nats.js.errors.NoStreamResponseError,
    ConnectionError,
    TimeoutError,
)


@contextlib.contextmanager
def convert_errors(what: str) -> Iterator[None]:
    """Convert nats-py's exceptions to RevisionConflictError or StoreUnavailableError; `what` is the subject of the
    message.
    """
    try:
        yield
    except nats.js.errors.KeyWrongLastSequenceError as e:
        raise RevisionConflictError(f"{what}: modified by another writer", hint="Read it again and retry.") from e
    except nats.js.errors.APIError as e:
        if isinstance(e, _UNAVAILABLE) and e.err_code not in STORAGE_FULL | _STREAM_FULL:
            raise _unresponsive(what) from e
        raise write_error(what, e.err_code or 0, e.description or str(e)) from e
    except _UNAVAILABLE as e:
        raise _unresponsive(what) from e


def _unresponsive(what: str) -> StoreUnavailableError:
    return StoreUnavailableError(f"{what}: NATS does not answer", hint="Nothing was acknowledged; try again.")


def write_error(what: str, err_code: int, description: str) -> YggError:
    """Return the error for JetStream's response to a write; `what` names the record or message."""
    if err_code == _MESSAGE_TOO_LARGE:
        return TooLargeError(f"{what}: the record exceeds the maximum of its stream ({description})")
    if err_code in STORAGE_FULL:
        return StoreFullError(
            f"{what}: not stored, because the disk of NATS or the mesh's share of it is full ({description})",
            hint="Free space on that disk, or raise YGG_NATS_STORE_BYTES. No restart is needed.",
            err_code=err_code,
        )
    if err_code in _STREAM_FULL:
        return StoreFullError(
            f"{what}: not stored, because its stream is full ({description})",
            hint="Delete unused records, or raise the limit of the stream: docs/guides/operations.md, Disk.",
            err_code=err_code,
        )
    return StoreUnavailableError(f"{what}: {description}", err_code=err_code)


class CheckedClient(Client):
    """Rejects messages for which the server would close the connection: invalid or long subjects, large payloads."""

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Publish; raises InvalidIdError or TooLargeError before anything is sent."""
        size, limit = len(payload) + _headers_bytes(headers), self.max_payload
        if size > limit:
            raise TooLargeError(f"a message of {size} bytes; the maximum of NATS is {limit}", size=size, limit=limit)
        await super().publish(subjects.checked(subject), payload, reply, headers)

    async def request(self, subject: str, *args: Any, **kwargs: Any) -> Msg:
        """Send a request and return the response; raises InvalidIdError or TooLargeError before anything is sent."""
        return await super().request(subjects.checked(subject), *args, **kwargs)

    async def flush(self, timeout: int = 10) -> None:  # noqa: ASYNC109 - as nats-py has it
        """Flush. Cancellation does not abandon the PING: nats-py breaks the connection on a PONG that it does not
        expect.
        """
        flushing = asyncio.ensure_future(super().flush(timeout))
        flushing.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(flushing)

    async def subscribe(self, subject: str, *args: Any, **kwargs: Any) -> Any:
        """Subscribe; raises InvalidIdError before anything is sent."""
        return await super().subscribe(subjects.checked(subject), *args, **kwargs)


def _headers_bytes(headers: dict[str, str] | None) -> int:
    """Return the bytes of the headers that the server counts as payload."""
    if not headers:
        return 0
    lines = (len(name) + len(value.encode(errors="replace")) + _HEADER_LINE_BYTES for name, value in headers.items())
    return _HEADERS_BYTES + sum(lines)


@dataclass(slots=True)
class Connection:
    """The connection, and when it was last established (seconds of the monotonic clock; None while it is lost).

    `on_change` is called with True when it is established and False when it is lost. `closed` is set when the server or
    an error has closed it for good.
    """

    client: Client
    since_s: float | None
    on_change: Callable[[bool], None] = lambda _: None
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    close_reason: str = ""

    def connected_s(self) -> float:
        """Return how long it has been connected, in seconds; 0 if it is not.

        nats-py says `is_connected` some time before it reports a reconnect: the time before the outage must not count.
        """
        if self.since_s is None or not self.client.is_connected:
            return 0.0
        return time.monotonic() - self.since_s


@contextlib.asynccontextmanager
async def connect(url: str, files: IdentityFiles, service: str) -> AsyncIterator[Connection]:
    """Connect, and reconnect after every restart of the server. Waits until the server is available for the first time.

    Inboxes begin with `_INBOX_<service>`, so that permissions can keep services from reading each other's responses.
    """

    logged_s: dict[str, float] = {}

    async def on_error(error: Exception) -> None:
        text, now = str(error) or type(error).__name__, time.monotonic()
        if now - logged_s.get(text, -ERROR_REPEAT_S) >= ERROR_REPEAT_S:  # not one line for each attempt in an outage
            if len(logged_s) >= MAX_LOGGED_ERRORS:
                logged_s.clear()
            logged_s[text] = now
            _log.warning("nats error", extra={"error": text})

    async def on_disconnect() -> None:
        connection.since_s = None
        _log.warning("nats disconnected")
        connection.on_change(False)

    async def on_reconnect() -> None:
        connection.since_s = time.monotonic()
        _log.info("nats reconnected")
        connection.on_change(True)

    async def on_closed() -> None:
        connection.close_reason = str(connection.client.last_error or "no reason given")
        connection.on_change(False)
        connection.closed.set()

    connection = Connection(CheckedClient(), time.monotonic())
    await connection.client.connect(
        url,
        name=service,
        tls=files.client_context(),
        tls_hostname=SERVER,
        inbox_prefix=f"_INBOX_{service}".encode(),
        max_reconnect_attempts=-1,
        reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # it sleeps for this long; fractions work
        connect_timeout=5,
        ping_interval=5,
        max_outstanding_pings=2,
        error_cb=on_error,
        disconnected_cb=on_disconnect,
        reconnected_cb=on_reconnect,
        closed_cb=on_closed,
    )
    try:
        connection.since_s = time.monotonic()
        yield connection
    finally:
        with contextlib.suppress(*_UNAVAILABLE, nats.errors.Error, asyncio.InvalidStateError):
            await connection.client.close()


async def flush_all(client: Client) -> None:
    """Return once the server has processed everything sent before, in particular subscriptions. Raises as `flush` does.

    nats-py writes the PING of a flush ahead of commands that still wait for its flusher task, so one flush may return
    before they are sent. By then they are written, and the PING of the second flush follows them.
    """
    await client.flush()
    await client.flush()


def jetstream(client: Client) -> JetStreamContext:
    """Return the JetStream context of the connection, with the mesh's timeout."""
    return client.jetstream(timeout=REQUEST_TIMEOUT_S)
