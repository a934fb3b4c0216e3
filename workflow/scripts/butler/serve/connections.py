"""Connections of clients that are slow, silent or many: what uvicorn leaves open for ever.

uvicorn waits without end for the head of a request and for a client to take its answer; here both
have their time, and so has the number of connections its bound.
"""

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from butler.serve.front import ServerLimits

TICK_S = 1.0
OWN_FILES = 128  # that the server has open beside its connections
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def allow_files(connections: int) -> int:
    """Let this process open a file per connection; return how many connections it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, min(connections, soft - OWN_FILES))
    return connections


class Guarded(H11Protocol):
    """uvicorn's HTTP/1.1, but for a client that sends no whole head in `head_seconds` or takes
    nothing of its answer for `send_seconds`: it is dropped."""

    limits = ServerLimits()
    _waiting_since = 0.0  # for the head of a request
    _stuck_since: float | None = None  # with an answer that the client does not take
    _tick: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waiting_since = self.loop.time()
        if len(self.connections) > self.limits.connections:
            transport.write(_FULL)
            transport.close()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._tick:
            self._tick.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._waiting_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._stuck_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck_since = None
        super().resume_writing()

    def _watch(self) -> None:
        now = self.loop.time()
        if self.transport.is_closing() and self._stuck_since is None:
            self._stuck_since = now  # the rest of an answer is still to be taken
        if self._given_up(now):
            self.transport.abort()
        else:
            self._tick = self.loop.call_later(TICK_S, self._watch)

    def _given_up(self, now: float) -> bool:
        if self._stuck_since is not None:
            return now - self._stuck_since > self.limits.send_seconds
        waiting = self.cycle is None or self.cycle.response_complete
        return waiting and now - self._waiting_since > self.limits.head_seconds


def server_options(limits: ServerLimits) -> dict[str, Any]:
    """Return what uvicorn.Config takes for it; the bound of the head is h11's, 64 KiB."""
    protocol = type("Guarded", (Guarded,), {"limits": limits})
    return {"http": protocol, "ws": "none", "timeout_graceful_shutdown": 5}
