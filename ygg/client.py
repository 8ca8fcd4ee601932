"""gRPC client of one mesh: mutual TLS channels, a deadline on every call, errors that name the service.

Does not print.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import grpc

from services.chassis import status
from services.chassis.credentials import credentials, options
from services.chassis.errors import RemoteError
from services.chassis.identity import IdentityFiles
from services.domain.errors import Code, Reason
from ygg.contexts import Context, no_identity_hint, unreachable_hint
from ygg.exits import CliError, Exit

CALL_S = 10.0
"""Default deadline of a call, in seconds."""

_NOTHING_SENT = "nothing was sent to the device"
_UNKNOWN = "the device may or may not have acted"

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class Mesh:
    """Channels to the services of one context, opened on first use."""

    def __init__(self, name: str, context: Context) -> None:
        self.name = name
        self.context = context
        self._files = IdentityFiles(Path(context.identity))
        self._channels: dict[str, grpc.Channel] = {}

    def __enter__(self) -> Mesh:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close every channel."""
        while self._channels:
            self._channels.popitem()[1].close()

    def channel(self, service: str) -> grpc.Channel:
        """Return the channel to a service: registry, jotunheim_bridge, loki or ota."""
        if service not in self._channels:
            if not (Path(self.context.identity) / "cert.pem").exists():
                raise CliError(
                    f"no identity in {self.context.identity} (context {self.name})",
                    hint=no_identity_hint(self.name),
                    code=Exit.DENIED,
                )
            endpoint = self.context.endpoint(service)
            self._channels[service] = grpc.secure_channel(endpoint, credentials(self._files), options=options(service))
        return self._channels[service]

    def call(
        self,
        service: str,
        method: Callable[..., _Response],
        request: _Request,
        *,
        timeout_s: float = CALL_S,
        device: bool = False,
    ) -> _Response:
        """Call a unary method and return its response.

        With `device`, the call reaches a device, and an error states whether the device may have acted.
        Raises YggError if the service returns an error or is unreachable.
        """
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as e:
            raise self.error(service, e, device=device) from e

    def stream(self, service: str, responses: Iterator[_Response], *, device: bool = False) -> Iterator[_Response]:
        """Yield the responses of a streaming call, converting errors as `call` does; cancel it if closed early."""
        try:
            yield from responses
        except grpc.RpcError as e:
            raise self.error(service, e, device=device) from e
        finally:
            cancel = getattr(responses, "cancel", None)
            if cancel:
                cancel()

    def error(self, service: str, error: grpc.RpcError, *, device: bool = False) -> Exception:
        """Return the error to show for a failed call."""
        if _is_ours(error):
            found = status.from_rpc(error, service)
            if device and found.reason in (Reason.INTERNAL, Reason.DEADLINE):
                found.data["fate"] = _UNKNOWN  # other errors of the bridge state it in their message
            return found
        return self._unreached(service, error, device=device)

    def _unreached(self, service: str, error: grpc.RpcError, *, device: bool) -> Exception:
        """Return the error for a call that failed in gRPC or the network, not in the service."""
        code: Any = error.code()
        details = str(error.details() or "")
        where = f"{service} at {self.context.endpoint(service)}"
        data = {"fate": _NOTHING_SENT if "failed to connect" in details else _UNKNOWN} if device else {}
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return RemoteError.of(Reason.DEADLINE, f"{where} did not respond in time", **data)
        if code is not grpc.StatusCode.UNAVAILABLE:
            return RemoteError(Code.__members__.get(code.name, Code.INTERNAL), Reason.RPC.value, details, **data)
        if "CERTIFICATE_VERIFY_FAILED" in details:
            hint = (
                "Its certificate is expired or was issued by another PKI. Show the identity in use:  ygg context show"
            )
            return RemoteError.of(Reason.SERVICE_NOT_TRUSTED, f"{where} is not trusted", hint=hint, **data)
        hint = unreachable_hint(self.name)
        if "failed to connect" in details and ("Socket closed" in details or "handshake" in details.lower()):
            hint = f"It may reject the identity {self.context.identity}. Check it:  ygg context show"
        return RemoteError.of(Reason.SERVICE_UNREACHABLE, f"{where} is unreachable", hint=hint, **data)


def _is_ours(error: grpc.RpcError) -> bool:
    info = status.error_info(error)
    return info is not None and info.domain == status.DOMAIN
