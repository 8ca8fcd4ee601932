"""What surrounds every RPC of every service: the caller's identity, a trace, a deadline, errors to status.

An interceptor, so that no servicer repeats it. The caller of the RPC at hand is `caller()`.
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
from services.chassis.errors import CallerError
from services.chassis.identity import Identity
from services.domain.errors import YggError

UNARY_DEADLINE_S = 330.0
"""For a caller who states none; the longest that a use case allows itself (a script's 300 s), and then some."""
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_log = logging.getLogger(__name__)
_caller: ContextVar[Identity] = ContextVar("caller")
_OPEN = ("/grpc.health.v1.Health/", "/grpc.reflection.")


def caller() -> Identity:
    """Who called the RPC that is being served."""
    return _caller.get()


def require_service(*names: str) -> None:
    """Raises CallerError unless the caller is one of these services."""
    who = caller()
    if who.kind != "service" or who.id not in names:
        raise CallerError(f"{who.uri} may not call this; it is for {', '.join(names)}", caller=who.uri)


def require_user() -> None:
    """Raises CallerError unless the caller is a person's own identity, which no service has."""
    who = caller()
    if who.kind != "user":
        raise CallerError(f"{who.uri} may not call this; it is for users", caller=who.uri)


@dataclass(frozen=True, slots=True)
class _Method:
    """One method of the server: its full name, and who says whom a caller's certificate is of."""

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
        """The handler, wrapped; None where there is none."""
        handler = await continuation(handler_call_details)
        return None if handler is None else _wrap(handler, _Method(handler_call_details.method, self._authorities))


def _wrap(handler: Any, method: _Method) -> Any:
    """Requests come as bytes and are parsed inside: what grpc.aio makes of a deserializer's error is UNKNOWN."""
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
async def _around(method: _Method, context: Context) -> AsyncIterator[None]:
    if method.name.startswith(_OPEN):
        async with _reported(method.name, context):
            yield
        return
    parent = telemetry.extract(tuple(context.invocation_metadata() or ()))
    with telemetry.tracer().start_as_current_span(method.name.lstrip("/"), parent, SpanKind.SERVER):
        async with _reported(method.name, context):
            _caller.set(_identify(method.authorities, context))  # each RPC has a task, and so a context, of its own
            yield


@contextlib.asynccontextmanager
async def _reported(method: str, context: Context) -> AsyncIterator[None]:
    """Errors become statuses."""
    try:
        yield
    except YggError as e:
        await _refuse(context, e)
    except TimeoutError:
        await _abort(context, grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed")
    except NotImplementedError:  # what a generated servicer does for a method that nobody wrote
        await _abort(context, grpc.StatusCode.UNIMPLEMENTED, "this version of the service does not have it")
    except (grpc.aio.AbortError, asyncio.CancelledError, grpc.aio.UsageError):
        raise
    except grpc.aio.InternalError as e:  # an answer that cannot be written: the call has ended meanwhile
        raise asyncio.CancelledError from e
    except Exception as e:  # noqa: BLE001 - the last resort: logged with its trace, told as INTERNAL
        error = _refusal_of(e)
        if error is not None:
            await _refuse(context, error)
            return
        trace_id = f"{trace.get_current_span().get_span_context().trace_id:032x}"
        _log.exception("unexpected error", extra={"method": method})
        await _abort(
            context, grpc.StatusCode.INTERNAL, f"an error of the service itself; its log has it under trace {trace_id}"
        )


def _refusal_of(error: Exception) -> YggError | None:
    """The first error of ours in a group of nothing else, as a TaskGroup raises it."""
    while isinstance(error, ExceptionGroup) and error.subgroup(YggError) is not None and not error.split(YggError)[1]:
        error = error.exceptions[0]
    return error if isinstance(error, YggError) else None


async def _refuse(context: Context, error: YggError) -> None:
    trace.get_current_span().set_status(StatusCode.ERROR, error.reason)
    await _abort(context, *status.to_status(error))


def _identify(authorities: Authorities, context: Context) -> Identity:
    leaf = next(iter(context.auth_context().get("x509_pem_cert") or ()), b"")
    who: Identity = authorities.identify(leaf)
    return who


async def _abort(
    context: Context, code: grpc.StatusCode, text: str, metadata: tuple[tuple[str, bytes], ...] = ()
) -> None:
    """End the call with a status. One that has ended meanwhile counts as cancelled, or grpc.aio logs a traceback."""
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
        async with _around(method, context):
            limit = deadline_s if context.time_remaining() is None else None
            async with asyncio.timeout(limit):
                return await behaviour(request, context)

    return call


def _streaming(behaviour: Callable[..., Any], method: _Method) -> Callable[..., Awaitable[None]]:
    """It writes its answers itself: a generator would be closed in another task than the one that began its trace."""

    async def call(request: Any, context: Context) -> None:
        async with _around(method, context):
            responses = behaviour(request, context)
            if inspect.isawaitable(responses):
                await responses
                return
            async with contextlib.aclosing(responses):
                async for response in responses:
                    await context.write(response)

    return call
