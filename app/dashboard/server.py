"""What surrounds the page on the server: headers, room for uploads, workers from start to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import subprocess
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import App, config, runtime

from app.jobs import shut_down, warm_up
from app.jobs.confinement import attempts, hide_process
from app.limits import Limits

logger = logging.getLogger(__name__)

# Streamlit needs inline scripts and styles, and Plotly images of its own making. Nothing may be
# loaded from or sent to elsewhere, and no other site may show this one in a frame.
CONTENT_SECURITY_POLICY = "; ".join((
    "default-src 'none'",
    "script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "media-src 'self'",
    "font-src 'self' data:",
    "connect-src 'self'",
    "worker-src 'self' blob:",
    "manifest-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
))  # fmt: skip
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # The address of a result is what gives access to it.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Resource-Policy": "same-origin",
}

UPLOAD_ROUTE = "/_stcore/upload_file/"
FILES_IN_MEMORY = 2
# Of the largest size: what is small finds room beyond that of the files above.
SMALL, ROOM_FOR_SMALL = 1 / 64, 1 / 4
SECONDS_UNCLAIMED = 180.0  # a page takes its file within seconds


class SecurityHeaders:
    """Adds `HEADERS` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class UploadGuard:
    """Bounds the memory that uploads take until the page has moved them to disk.

    Streamlit holds whatever a session sends for as long as the session lasts: here it is one file
    per session, and `FILES_IN_MEMORY` of the largest size in all. What a page that is closed has
    sent, or one that does not take it, goes when others need the room.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._largest = Limits.from_environment().file_bytes
        self._arriving: dict[str, int] = {}
        self._arrived: dict[str, float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        is_upload = scope["type"] == "http" and scope["method"] == "PUT"
        if not is_upload or UPLOAD_ROUTE not in scope["path"]:
            await self.app(scope, receive, send)
            return
        session = scope["path"].split("/")[-2]
        length = Headers(scope=scope).get("content-length", "")
        size = int(length) if length.isdecimal() else self._largest
        if session in self._arriving or self._held(session) + size > self._room(size):
            busy = PlainTextResponse("Too many uploads at once: try again.", status_code=503)
            await busy(scope, receive, send)
            return
        self._arriving[session] = size
        try:
            await self.app(scope, receive, send)
        finally:
            del self._arriving[session]
            self._arrived[session] = time.monotonic()

    def _room(self, size: int) -> float:
        files = FILES_IN_MEMORY + (ROOM_FOR_SMALL if size <= SMALL * self._largest else 0)
        return files * self._largest - sum(self._arriving.values())

    def _held(self, session: str) -> int:
        """Bytes of the files in memory, once the session's earlier file and the unclaimed go."""
        streamlit = runtime.get_instance()
        manager: Any = streamlit.uploaded_file_mgr
        now = time.monotonic()
        self._arrived = {
            key: at for key, at in self._arrived.items() if key in manager.file_storage
        }
        for key in list(manager.file_storage):
            waits = now - self._arrived.get(key, now) > SECONDS_UNCLAIMED
            if key == session or waits or not streamlit.is_active_session(key):
                manager.remove_session_files(key)
        stored = [file for files in list(manager.file_storage.values()) for file in files.values()]
        return sum(len(file.data) for file in stored)


def tell_weaknesses() -> None:
    """Warns of what a hijacked worker could do here; silent where the cell holds."""
    try:
        found = attempts.walk()
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("What holds a worker on this machine could not be tried: %s.", error)
        return
    could = [attempt for attempt, succeeded in found.possible.items() if succeeded]
    if could:
        lacking = "; ".join(f"{name}: {why}" for name, why in found.lacking.items())
        logger.warning(
            "Should a stranger's file take over a worker, it could on this machine %s (%s). See "
            "docs/security.md.", ", ".join(could), lacking,
        )  # fmt: skip


@contextlib.asynccontextmanager
async def workers(_: App) -> AsyncIterator[dict[str, Any] | None]:
    """A warm worker stands by before the first visitor comes, and ends with the server.

    Raises:
        ValueError: a limit in the environment is not a positive number.
    """
    # In whole megabytes; the uploads' folder counts bytes.
    megabytes = math.ceil(Limits.from_environment().file_bytes / 2**20)
    config.set_option("server.maxUploadSize", megabytes)
    hide_process()
    threading.Thread(target=tell_weaknesses, daemon=True).start()
    await asyncio.to_thread(warm_up)
    yield None
    await asyncio.to_thread(shut_down)


MIDDLEWARE = (Middleware(SecurityHeaders), Middleware(UploadGuard))
