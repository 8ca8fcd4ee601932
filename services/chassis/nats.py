"""The connection to NATS: TLS, the service's own certificate as its credential, reconnecting for ever.

Owns connecting, what may be sent at all, and turning what nats-py raises into errors of ours. Buckets are in `kv`,
streams in `streams`.
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
RECONNECT_WAIT_S = 0.25
REPEAT_S = 10.0
MAX_TOLD = 32
NO_ROOM = frozenset({10002, 10023, 10028, 10047})
"""JetStream's errors for a limit of account, server, memory or storage that is reached."""
_STREAM_FULL = frozenset({10077})
"""Maximum bytes or messages of one stream that drops nothing by itself; it is any failure to store."""
_HEADER_LINE_BYTES, _HEADERS_BYTES = 4, 12
"""What a header takes beside its name and value, and all headers beside their lines (ADR-4)."""
_MESSAGE_TOO_LARGE = 10054
_log = logging.getLogger(__name__)
_DOWN = (
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
def converted(what: str) -> Iterator[None]:
    """What nats-py raises inside it becomes RevisionConflictError or StoreUnavailableError; `what` names the thing."""
    try:
        yield
    except nats.js.errors.KeyWrongLastSequenceError as e:
        raise RevisionConflictError(f"{what}: somebody else wrote it first", hint="Read it again and repeat.") from e
    except nats.js.errors.APIError as e:
        if isinstance(e, _DOWN) and e.err_code not in NO_ROOM | _STREAM_FULL:
            raise _silent(what) from e
        raise refused(what, e.err_code or 0, e.description or str(e)) from e
    except _DOWN as e:
        raise _silent(what) from e


def _silent(what: str) -> StoreUnavailableError:
    return StoreUnavailableError(f"{what}: NATS does not answer", hint="Nothing was acknowledged; try again.")


def refused(what: str, err_code: int, description: str) -> YggError:
    """The error for a write that JetStream has answered with that error; `what` names what was to be written."""
    if err_code == _MESSAGE_TOO_LARGE:
        return TooLargeError(f"{what}: the record is larger than its stream takes ({description})")
    if err_code in NO_ROOM:
        return StoreFullError(
            f"{what}: not stored, because the disk of NATS is full, or what the mesh may use of it ({description})",
            hint="Free space on that disk, or raise YGG_NATS_STORE_BYTES. Nothing needs to be restarted.",
            err_code=err_code,
        )
    if err_code in _STREAM_FULL:
        return StoreFullError(
            f"{what}: not stored, because its stream is full ({description})",
            hint="Delete what is no longer needed, or give the stream more room: docs/OPERATIONS.md, Disk.",
            err_code=err_code,
        )
    return StoreUnavailableError(f"{what}: {description}", err_code=err_code)


class CheckedClient(Client):
    """Refuses what the server would answer by closing the connection: malformed or long subjects, large messages."""

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Publish; raise InvalidIdError or TooLargeError before anything is sent."""
        size, limit = len(payload) + _headers_bytes(headers), self.max_payload
        if size > limit:
            raise TooLargeError(f"a message of {size} bytes; NATS carries at most {limit}", size=size, limit=limit)
        await super().publish(subjects.checked(subject), payload, reply, headers)

    async def request(self, subject: str, *args: Any, **kwargs: Any) -> Msg:
        """Request; raise InvalidIdError or TooLargeError before anything is sent."""
        return await super().request(subjects.checked(subject), *args, **kwargs)

    async def flush(self, timeout: int = 10) -> None:  # noqa: ASYNC109 - as nats-py has it
        """Flush. Cancelling it leaves the PING be answered: nats-py breaks the connection for a PONG to nobody."""
        flushing = asyncio.ensure_future(super().flush(timeout))
        flushing.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(flushing)

    async def subscribe(self, subject: str, *args: Any, **kwargs: Any) -> Any:
        """Subscribe; raise InvalidIdError before anything is sent."""
        return await super().subscribe(subjects.checked(subject), *args, **kwargs)


def _headers_bytes(headers: dict[str, str] | None) -> int:
    """What the server counts as payload beside the payload."""
    if not headers:
        return 0
    lines = (len(name) + len(value.encode(errors="replace")) + _HEADER_LINE_BYTES for name, value in headers.items())
    return _HEADERS_BYTES + sum(lines)


@dataclass(slots=True)
class Connection:
    """The connection, and since when it has been up without a break (seconds of the monotonic clock).

    `on_change` is called with whether it is up. `closed` is set when the server or an error has closed it for good.
    """

    client: Client
    since_s: float
    on_change: Callable[[bool], None] = lambda _: None
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    why_closed: str = ""

    def connected_s(self) -> float:
        """For how long it has been connected, in seconds; 0 while it is not."""
        return time.monotonic() - self.since_s if self.client.is_connected else 0.0


@contextlib.asynccontextmanager
async def connect(url: str, files: IdentityFiles, service: str) -> AsyncIterator[Connection]:
    """A connection that outlives restarts of the server. Waits until the server is there for the first time.

    Inboxes begin with `_INBOX_<service>`, so that permissions can keep services from reading each other's answers.
    """

    told: dict[str, float] = {}

    async def on_error(error: Exception) -> None:
        text, now = str(error) or type(error).__name__, time.monotonic()
        if now - told.get(text, -REPEAT_S) >= REPEAT_S:  # else an outage writes a line for every attempt
            if len(told) >= MAX_TOLD:
                told.clear()
            told[text] = now
            _log.warning("nats", extra={"error": text})

    async def on_disconnect() -> None:
        _log.warning("nats disconnected")
        connection.on_change(False)

    async def on_reconnect() -> None:
        connection.since_s = time.monotonic()
        _log.info("nats reconnected")
        connection.on_change(True)

    async def on_closed() -> None:
        connection.why_closed = str(connection.client.last_error or "no reason given")
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
        with contextlib.suppress(*_DOWN, nats.errors.Error, asyncio.InvalidStateError):
            await connection.client.close()


async def flushed(client: Client) -> None:
    """Returns once the server has all that was sent before, subscriptions above all. Raises what `flush` raises.

    nats-py writes the PING of a flush ahead of commands that still wait for its flusher task, so one alone may be
    answered before they are there. By then they are written, and the second one's PING is behind them.
    """
    await client.flush()
    await client.flush()


def jetstream(client: Client) -> JetStreamContext:
    """JetStream over the connection, with the mesh's timeout."""
    return client.jetstream(timeout=REQUEST_TIMEOUT_S)
