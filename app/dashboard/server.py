"""What surrounds the page on the server: headers, room for uploads, workers from start to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import subprocess
import threading
from collections.abc import AsyncIterator
from typing import Any

from starlette.datastructures import Headers, MutableHeaders, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import App, config, runtime

from app.dashboard.uploads import DATA_SUFFIXES, SUFFIXES, Upload, store, token_of
from app.dashboard.visitors import address_of
from app.errors import WrongSettingError
from app.jobs import shut_down, warm_up
from app.jobs.confinement import attempts, hide_process
from app.limits import Limits

logger = logging.getLogger(__name__)

# Streamlit needs inline scripts and styles, and Plotly images of its own making. Nothing may be
# loaded from or sent to elsewhere, and no other site may show this one in a frame.
CONTENT_SECURITY_POLICY = "; ".join(
    (
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
    )
)
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
# That may arrive at once, of the largest size; half of them from one address.
FILES_ARRIVING = 4
FILES_TOGETHER = 4  # of a session at a time: an architecture, its weights
# Of the largest size: what is small finds room beyond that of the files above.
SMALL, ROOM_FOR_SMALL = 1 / 64, 1 / 4
SECONDS_OF_SILENCE = 60.0
# What a form has around its file: boundaries, the file's name.
_FRAME = 2**20
_BOUNDARY = "file"
_REFUSED = (HTTPException, MultiPartException, WrongSettingError, OSError)


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
    """Puts uploads on disk as they come; Streamlit, which would hold them in memory, gets a token.

    A few files for each session at a time, and in all what `FILES_ARRIVING` of the largest size
    are. What is on disk counts among all that is kept there.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._largest = Limits.from_environment().file_bytes
        self._arriving: dict[str, tuple[str | None, int]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        session = scope["path"].split("/")[-2] if _is_upload(scope) else ""
        # What comes for no session Streamlit refuses before it reads it.
        if not session or not runtime.get_instance().is_active_session(session):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        told = int(length) if length.isdecimal() and len(length) < 20 else self._largest
        size = min(told, self._largest)
        sender = address_of((scope.get("client") or ("",))[0], headers)
        too_large = told > self._largest + _FRAME
        own = [path for path in self._arriving if path.split("/")[-2] == session]
        again = scope["path"] in self._arriving
        has_room = len(own) < FILES_TOGETHER and self._has_room(sender, size)
        if too_large or again or not has_room:
            why = "The file is too large." if too_large else "Too many uploads at once: try again."
            refused = PlainTextResponse(why, status_code=413 if too_large else 503)
            await refused(scope, receive, send)
            return
        self._arriving[scope["path"]] = (sender, size)
        try:
            upload = await _on_disk(scope, _bounded(receive, size + _FRAME), sender)
        except _REFUSED as error:
            # Without the server's own paths; what has stood still says nothing.
            why = getattr(error, "strerror", None) or str(error) or "The upload stood still."
            await PlainTextResponse(why, status_code=400)(scope, receive, send)
        except ClientDisconnect:
            pass
        else:
            await self.app(*_standing_in(scope, upload), send)
        finally:
            self._arriving.pop(scope["path"], None)

    def _has_room(self, sender: str | None, size: int) -> bool:
        files = FILES_ARRIVING + (ROOM_FOR_SMALL if size <= SMALL * self._largest else 0)
        room = files * self._largest
        own = sum(size for who, size in self._arriving.values() if who == sender)
        arriving = sum(size for _, size in self._arriving.values())
        return arriving + size <= room and (sender is None or own + size <= room / 2)


def _is_upload(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] == "PUT" and UPLOAD_ROUTE in scope["path"]


def _bounded(receive: Receive, most: int) -> Receive:
    """No more bytes than these, and none that are waited for in vain."""
    received = 0

    async def next_message() -> Message:
        nonlocal received
        message = await asyncio.wait_for(receive(), SECONDS_OF_SILENCE)
        received += len(message.get("body", b""))
        if received > most:
            raise WrongSettingError("The upload is larger than it was said to be.")
        return message

    return next_message


async def _on_disk(scope: Scope, receive: Receive, sender: str | None) -> Upload:
    """The file in a form, which Starlette puts on disk as it comes."""
    async with Request(scope, receive).form(max_files=1, max_fields=0) as form:
        files = [part for part in form.values() if isinstance(part, UploadFile)]
        if len(files) != 1:
            raise WrongSettingError("One file was expected.")
        return await asyncio.to_thread(
            store, files[0].file, files[0].filename or "", (*SUFFIXES, *DATA_SUFFIXES), sender
        )


def _standing_in(scope: Scope, upload: Upload) -> tuple[Scope, Receive]:
    """The same request with a token for its file."""
    body = (
        f"--{_BOUNDARY}\r\nContent-Disposition: form-data; name=file; filename=upload"
        f"{upload.path.suffix}\r\n\r\n{token_of(upload)}\r\n--{_BOUNDARY}--\r\n"
    ).encode()
    headers = MutableHeaders(raw=list(scope["headers"]))
    headers["content-length"] = str(len(body))
    headers["content-type"] = f"multipart/form-data; boundary={_BOUNDARY}"
    messages = iter([{"type": "http.request", "body": body}])

    async def receive() -> Message:
        return next(messages, {"type": "http.disconnect"})

    return {**scope, "headers": headers.raw}, receive


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
            "docs/security.md.",
            ", ".join(could),
            lacking,
        )


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
    # Streamlit looks for garbage after each run of the page: not in what was imported for good.
    gc.collect()
    gc.freeze()
    yield None
    await asyncio.to_thread(shut_down)


MIDDLEWARE = (Middleware(SecurityHeaders), Middleware(UploadGuard))
