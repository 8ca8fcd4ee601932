"""Interceptor of every RPC: the caller's identity, a trace, a deadline, conversion of errors to a status.

Servicers need none of that themselves; `caller()` returns the caller of the current RPC.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import grpc.aio
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from services.chassis import requests, status, telemetry
from services.chassis.authorities import Authorities
from services.chassis.errors import CallerError, DeadlineError, UnimplementedError
from services.chassis.identity import Identity
from services.domain.errors import YggError

UNARY_DEADLINE_S = 330.0
"""Deadline of a caller that sets none, in seconds; longer than the longest use case (a script's 300 s)."""
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_log = logging.getLogger(__name__)
_caller: ContextVar[Identity] = ContextVar("caller")
_PUBLIC = ("/grpc.health.v1.Health/", "/grpc.reflection.")


def caller() -> Identity:
    """Return the caller of the current RPC."""
    return _caller.get()


def require_service(*names: str) -> None:
    """Raise CallerError unless the caller is one of these services."""
    identity = caller()
    if identity.kind != "service" or identity.id not in names:
        raise CallerError(f"{identity.uri} may not call this; allowed: {', '.join(names)}", caller=identity.uri)


def require_user() -> None:
    """Raise CallerError unless the caller is a user; no service has a user's identity."""
    identity = caller()
    if identity.kind != "user":
        raise CallerError(f"{identity.uri} may not call this; allowed: users", caller=identity.uri)


@dataclass(frozen=True, slots=True)
class _Method:
    """A method of the server: its full name and the CAs that callers must have certificates of."""

    name: str
    authorities: Authorities


class RpcInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of a server."""

    def __init__(self, authorities: Authorities) -> None:
        self._authorities = authorities

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the wrapped handler, or None if there is no handler."""
        handler = await continuation(handler_call_details)
        return None if handler is None else _wrap(handler, _Method(handler_call_details.method, self._authorities))


def _wrap(handler: Any, method: _Method) -> Any:
    """Wrap a handler. Requests are parsed inside, because grpc.aio reports any error of a deserializer as UNKNOWN."""
    parse, serialize = handler.request_deserializer, handler.response_serializer
    if handler.response_streaming:
        if handler.request_streaming:
            behaviour = _streaming(_of_stream(handler.stream_stream, parse), method)
            return grpc.stream_stream_rpc_method_handler(behaviour, None, serialize)
        behaviour = _streaming(_of_one(handler.unary_stream, parse), method)
        return grpc.unary_stream_rpc_method_handler(behaviour, None, serialize)
    if handler.request_streaming:
        waited = _unary(_of_stream(handler.stream_unary, parse), method, None)
        return grpc.stream_unary_rpc_method_handler(waited, None, serialize)
    waited = _unary(_of_one(handler.unary_unary, parse), method, UNARY_DEADLINE_S)
    return grpc.unary_unary_rpc_method_handler(waited, None, serialize)


def _of_one(behaviour: Callable[..., Any], parse: requests.Parse | None) -> Callable[[bytes, Context], Any]:
    if parse is None:
        return behaviour
    return lambda data, context: behaviour(requests.parse(parse, data), context)


def _of_stream(
    behaviour: Callable[..., Any], parse: requests.Parse | None
) -> Callable[[AsyncIterator[bytes], Context], Any]:
    if parse is None:
        return behaviour
    return lambda messages, context: behaviour(requests.parse_each(parse, messages), context)


@contextlib.asynccontextmanager
async def _rpc_context(method: _Method, context: Context) -> AsyncIterator[None]:
    if method.name.startswith(_PUBLIC):
        async with _errors_to_status(method.name, context):
            yield
        return
    parent = telemetry.extract(tuple(context.invocation_metadata() or ()))
    with telemetry.tracer().start_as_current_span(method.name.lstrip("/"), parent, SpanKind.SERVER):
        async with _errors_to_status(method.name, context):
            _caller.set(_identify(method.authorities, context))  # each RPC has its own task, and so its own context
            yield


@contextlib.asynccontextmanager
async def _errors_to_status(method: str, context: Context) -> AsyncIterator[None]:
    """Convert errors to statuses."""
    try:
        yield
    except YggError as e:
        await _refuse(context, e)
    except TimeoutError:
        await _refuse(context, DeadlineError("the deadline has expired"))
    except NotImplementedError:  # raised by a generated servicer for a method that is not implemented
        await _refuse(context, UnimplementedError("not implemented by this version of the service"))
    except (grpc.aio.AbortError, asyncio.CancelledError, grpc.aio.UsageError):
        raise
    except grpc.aio.InternalError as e:  # the response cannot be written: the call has ended
        raise asyncio.CancelledError from e
    except Exception as e:  # noqa: BLE001 - the last resort: logged with its trace, reported as INTERNAL
        error = _refusal_of(e)
        if error is not None:
            await _refuse(context, error)
            return
        trace_id = f"{trace.get_current_span().get_span_context().trace_id:032x}"
        _log.exception("request failed", extra={"method": method})
        await _refuse(context, YggError(f"internal error of the service; search its log for trace {trace_id}"))


def _refusal_of(error: Exception) -> YggError | None:
    """Return the first YggError of an exception group, as a TaskGroup raises it, that contains nothing else."""
    while isinstance(error, ExceptionGroup) and error.subgroup(YggError) is not None and not error.split(YggError)[1]:
        error = error.exceptions[0]
    return error if isinstance(error, YggError) else None


async def _refuse(context: Context, error: YggError) -> None:
    trace.get_current_span().set_status(StatusCode.ERROR, error.reason)
    await _abort(context, *status.to_status(error))


def _identify(authorities: Authorities, context: Context) -> Identity:
    leaf = next(iter(context.auth_context().get("x509_pem_cert") or ()), b"")
    identity: Identity = authorities.identify(leaf)
    return identity


async def _abort(
    context: Context, code: grpc.StatusCode, text: str, metadata: tuple[tuple[str, bytes], ...] = ()
) -> None:
    """End the call with a status. A call that has already ended is cancelled, or grpc.aio would log a traceback."""
    if context.done():
        raise asyncio.CancelledError
    try:
        await context.abort(code, text, metadata)
    except grpc.aio.InternalError as e:
        raise asyncio.CancelledError from e


def _unary(
    behaviour: Callable[..., Awaitable[Any]], method: _Method, deadline_s: float | None
) -> Callable[..., Awaitable[Any]]:
    async def call(request: Any, context: Context) -> Any:
        async with _rpc_context(method, context):
            limit = deadline_s if context.time_remaining() is None else None
            async with asyncio.timeout(limit):
                return await behaviour(request, context)

    return call


def _streaming(behaviour: Callable[..., Any], method: _Method) -> Callable[..., Awaitable[None]]:
    """Write the responses here: a generator would be closed in another task than the one that started its trace."""

    async def call(request: Any, context: Context) -> None:
        async with _rpc_context(method, context):
            responses = behaviour(request, context)
            if inspect.isawaitable(responses):
                await responses
                return
            async with contextlib.aclosing(responses):
                async for response in responses:
                    await context.write(response)

    return call
