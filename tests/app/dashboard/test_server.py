"""What surrounds the page: headers on every answer, and room for uploads."""

import asyncio
import errno
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from app.dashboard import server, uploads
from app.dashboard.server import FILES_ARRIVING, HEADERS, SecurityHeaders, UploadGuard

ROUTE = "/_stcore/upload_file/{}/file"
LARGEST = 1 << 20


def run(story):
    """In a thread of its own: the browser's tests leave a loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, story).result()


class Streamlit:
    """What stands in for it: keeps the form of every upload."""

    def __init__(self) -> None:
        self.closed: set[str] = set()
        self.files: list[tuple[str, bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "PUT":
            async with Request(scope, receive).form() as form:
                (file,) = form.values()
                self.files.append((file.filename, await file.read()))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def form_of(content: bytes, name: str = "model.h5", files: int = 1) -> bytes:
    part = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return files * (part.encode() + content + b"\r\n") + b"--x--\r\n"


async def ask(
    app: Any,
    session: str | None = None,
    body: bytes = b"",
    size: int | None = None,
    go: asyncio.Event | None = None,
    client: str = "192.0.2.1",
    said: list[bytes] | None = None,
) -> int:
    """The status of an answer; an upload's second half comes when it may `go`."""
    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    if size is not None:
        headers.append((b"content-length", str(size).encode()))
    answers: list[dict[str, Any]] = []
    halves = [body[: len(body) // 2], body[len(body) // 2 :]]

    async def receive() -> dict[str, Any]:
        if len(halves) == 1 and go is not None:
            await go.wait()
        if not halves:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": halves.pop(0), "more_body": bool(halves)}

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    scope = {
        "type": "http",
        "method": "PUT" if session else "GET",
        "headers": headers,
        "path": ROUTE.format(session) if session else "/",
        "client": (client, 1),
        "query_string": b"",
    }
    await app(scope, receive, send)
    if said is not None:
        said += [each["body"] for each in answers if "body" in each]
    return answers[0]["status"] if answers else 0


@pytest.fixture
def streamlit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Streamlit:
    monkeypatch.setenv("AUTOINIT_MAX_FILE_BYTES", str(LARGEST))
    monkeypatch.setenv("AUTOINIT_DATA", str(tmp_path))
    streamlit = Streamlit()
    stand_in = SimpleNamespace(is_active_session=lambda key: key not in streamlit.closed)
    monkeypatch.setattr(server.runtime, "get_instance", lambda: stand_in)
    return streamlit


def test_every_answer_has_the_headers(streamlit: Streamlit) -> None:
    answers: list[Any] = []

    async def send(message: Any) -> None:
        answers.append(message)

    run(SecurityHeaders(streamlit)({"type": "http", "method": "GET"}, None, send))
    sent = {name.decode(): value.decode() for name, value in answers[0]["headers"]}
    assert sent == {name.lower(): value for name, value in HEADERS.items()}
    assert "unsafe-eval" not in sent["content-security-policy"].replace("wasm-unsafe-eval", "")


def test_an_upload_is_on_disk_and_streamlit_holds_its_token(streamlit: Streamlit) -> None:
    content = b"PK\x03\x04" + bytes(range(256)) * 1000
    assert run(ask(UploadGuard(streamlit), "anna", form_of(content, "../my.KERAS"))) == 204
    ((name, token),) = streamlit.files
    assert name == "upload.keras"
    assert len(token) == 64
    found = uploads.received(io.BytesIO(token), name, uploads.SUFFIXES)
    assert found.name == "../my.KERAS"
    assert (found.size, found.path.read_bytes()) == (len(content), content)
    assert found.path.parent == uploads.uploads_folder()
    with pytest.raises(ValueError, match="is no model file"):
        uploads.received(io.BytesIO(token[:-1] + b"?"), name, uploads.SUFFIXES)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        form_of(b"PK", files=0),
        form_of(b"PK", files=2),
        form_of(b"PK", "model.exe"),
        form_of(bytes(LARGEST + 1)),
        form_of(bytes(3 * LARGEST)),
        b"no form",
    ],
    ids=["nothing", "no file", "two", "another kind", "too large", "far too large", "no form"],
)
def test_what_is_no_upload_is_not_kept(streamlit: Streamlit, body: bytes) -> None:
    guard = UploadGuard(streamlit)
    assert run(ask(guard, "anna", body)) == 400
    assert not streamlit.files
    assert not list(uploads.uploads_folder().iterdir())
    assert run(ask(guard, "anna", form_of(b"PK"))) == 204


def test_what_is_said_to_be_too_large_is_not_read(streamlit: Streamlit) -> None:
    guard = UploadGuard(streamlit)
    assert run(ask(guard, "anna", form_of(b"PK"), size=3 * LARGEST)) == 413
    assert run(ask(guard, "anna", form_of(b"PK"), size=10**30)) == 204, "this says nothing"
    whole = form_of(b"PK" + bytes(LARGEST - 2))
    assert run(ask(guard, "anna", whole, size=len(whole))) == 204, "of the largest size"


def test_no_room_on_the_disk_is_told_without_its_paths(
    streamlit: Streamlit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/uploads/partial-1")

    monkeypatch.setattr(server, "store", full)
    said: list[bytes] = []
    assert run(ask(UploadGuard(streamlit), "anna", form_of(b"PK"), said=said)) == 400
    assert said == [b"No space left on device"]


def test_a_page_that_is_closed_sends_nothing(streamlit: Streamlit) -> None:
    """Streamlit refuses it, unread."""
    streamlit.closed.add("anna")
    assert run(ask(UploadGuard(streamlit), "anna", form_of(b"PK"))) == 204
    assert [content for _, content in streamlit.files] == [b"PK"], "as it came"
    assert not list(uploads.uploads_folder().iterdir())


def test_what_is_on_its_way_counts_until_it_is_there(streamlit: Streamlit) -> None:
    guard = UploadGuard(streamlit)
    body = form_of(b"PK")

    async def story() -> None:
        go = asyncio.Event()
        slow = [
            asyncio.create_task(ask(guard, f"{number}", body, LARGEST, go, f"192.0.2.{number % 2}"))
            for number in range(FILES_ARRIVING)
        ]
        await asyncio.sleep(0)
        assert await ask(guard, "0", body, 1) == 503, "one at a time"
        assert await ask(guard, "anna", body, LARGEST, client="192.0.2.9") == 503
        assert await ask(guard, "anna", body, client="192.0.2.9") == 503, "of a size that it hides"
        assert await ask(guard, "anna", body, LARGEST // 64, client="192.0.2.9") == 204
        assert await ask(guard) == 204
        go.set()
        assert set(await asyncio.gather(*slow)) == {204}
        assert await ask(guard, "anna", body, LARGEST, client="192.0.2.9") == 204
        assert not guard._arriving

    run(story())


def test_an_address_leaves_room_for_others(streamlit: Streamlit) -> None:
    guard = UploadGuard(streamlit)
    body = form_of(b"PK")

    async def story() -> None:
        go = asyncio.Event()
        slow = [
            asyncio.create_task(ask(guard, f"{number}", body, LARGEST, go))
            for number in range(FILES_ARRIVING // 2)
        ]
        await asyncio.sleep(0)
        assert await ask(guard, "anna", body, LARGEST) == 503
        assert await ask(guard, "ben", body, LARGEST, client="192.0.2.2") == 204
        go.set()
        await asyncio.gather(*slow)

    run(story())


def test_what_stands_still_is_given_up(
    streamlit: Streamlit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SECONDS_OF_SILENCE", 0.01)
    guard = UploadGuard(streamlit)
    assert run(ask(guard, "anna", form_of(b"PK"), go=asyncio.Event())) == 400
    assert not guard._arriving


def test_a_start_and_a_stop(streamlit: Streamlit, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    monkeypatch.setattr(server, "warm_up", lambda: said.append("start"))
    monkeypatch.setattr(server, "shut_down", lambda: said.append("stop"))
    monkeypatch.setattr(server.config, "set_option", lambda *option: said.append(option))
    monkeypatch.setenv("AUTOINIT_MAX_FILE_BYTES", str(2**21 + 1))

    async def story() -> None:
        async with server.workers(None):
            said.append("serve")

    run(story())
    assert said == [("server.maxUploadSize", 3), "start", "serve", "stop"]
    monkeypatch.setenv("AUTOINIT_MAX_QUEUE", "many")
    with pytest.raises(ValueError, match="AUTOINIT_MAX_QUEUE"):
        run(story())
