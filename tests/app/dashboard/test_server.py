"""What surrounds the page: headers on every answer, and room for uploads."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from app.dashboard import server
from app.dashboard.server import FILES_IN_MEMORY, HEADERS, SecurityHeaders, UploadGuard

ROUTE = "/_stcore/upload_file/{}/file"
LARGEST = 1000


def run(story):
    """In a thread of its own: the browser's tests leave a loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, story).result()


class Uploads:
    """What stands in for Streamlit: keeps every upload, as soon as it may go on."""

    def __init__(self) -> None:
        self.file_storage: dict[str, dict[str, Any]] = {}
        self.closed: set[str] = set()
        self.go = asyncio.Event()
        self.go.set()

    def remove_session_files(self, session: str) -> None:
        self.file_storage.pop(session, None)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.go.wait()
        if scope["method"] == "PUT":
            session = scope["path"].split("/")[-2]
            size = int(dict(scope["headers"]).get(b"content-length", LARGEST))
            self.file_storage[session] = {"file": SimpleNamespace(data=bytes(size))}
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def ask(app: Any, path: str, method: str = "PUT", size: int | None = None) -> dict[str, Any]:
    headers = [] if size is None else [(b"content-length", str(size).encode())]
    answers: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    await app(scope, None, send)
    return answers[0]


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> Uploads:
    monkeypatch.setenv("AUTOINIT_MAX_FILE_BYTES", str(LARGEST))
    uploads = Uploads()
    stand_in = SimpleNamespace(
        uploaded_file_mgr=uploads, is_active_session=lambda key: key not in uploads.closed
    )
    monkeypatch.setattr(server.runtime, "get_instance", lambda: stand_in)
    return uploads


def test_every_answer_has_the_headers(uploads: Uploads) -> None:
    answer = run(ask(SecurityHeaders(uploads), "/", "GET"))
    sent = {name.decode(): value.decode() for name, value in answer["headers"]}
    assert sent == {name.lower(): value for name, value in HEADERS.items()}
    assert "unsafe-eval" not in sent["content-security-policy"].replace("wasm-unsafe-eval", "")


def test_a_session_holds_one_file_and_all_of_them_a_few(uploads: Uploads) -> None:
    guard = UploadGuard(uploads)

    async def story() -> None:
        for _ in range(5):
            assert (await ask(guard, ROUTE.format("anna"), size=LARGEST))["status"] == 204
        assert len(uploads.file_storage) == 1
        for number in range(FILES_IN_MEMORY - 1):
            assert (await ask(guard, ROUTE.format(number)))["status"] == 204
        assert (await ask(guard, ROUTE.format("ben"), size=100))["status"] == 503
        assert (await ask(guard, "/", "GET"))["status"] == 204
        uploads.remove_session_files("anna")  # As the page does when it has stored the file.
        assert (await ask(guard, ROUTE.format("ben"), size=100))["status"] == 204

    run(story())


@pytest.mark.parametrize("why", ["closed", "unclaimed"])
def test_what_nobody_takes_makes_room(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    guard = UploadGuard(uploads)

    async def story() -> None:
        for number in range(FILES_IN_MEMORY):
            assert (await ask(guard, ROUTE.format(number), size=LARGEST))["status"] == 204
        assert (await ask(guard, ROUTE.format("anna"), size=LARGEST))["status"] == 503
        if why == "closed":
            uploads.closed.add("0")
        else:
            guard._arrived["0"] -= server.SECONDS_UNCLAIMED
        assert (await ask(guard, ROUTE.format("anna"), size=LARGEST))["status"] == 204
        assert set(uploads.file_storage) == {"1", "anna"}

    run(story())


def test_small_files_find_room(uploads: Uploads) -> None:
    guard = UploadGuard(uploads)

    async def story() -> None:
        for number in range(FILES_IN_MEMORY):
            assert (await ask(guard, ROUTE.format(number), size=LARGEST))["status"] == 204
        for name in range(10, 26):
            assert (await ask(guard, ROUTE.format(name), size=LARGEST // 64))["status"] == 204
        assert (await ask(guard, ROUTE.format("late"), size=LARGEST // 64))["status"] == 503

    run(story())


def test_what_is_on_its_way_counts_until_it_is_there(uploads: Uploads) -> None:
    guard = UploadGuard(uploads)

    async def story() -> None:
        uploads.go.clear()
        first = asyncio.create_task(ask(guard, ROUTE.format("anna"), size=LARGEST // 2))
        second = asyncio.create_task(ask(guard, ROUTE.format("ben")))  # Of a size that it hides.
        await asyncio.sleep(0)
        assert (await ask(guard, ROUTE.format("anna"), size=1))["status"] == 503, "one at a time"
        assert (await ask(guard, ROUTE.format("cleo"), size=LARGEST))["status"] == 503
        uploads.go.set()
        assert [(await task)["status"] for task in (first, second)] == [204, 204]
        assert (await ask(guard, ROUTE.format("cleo"), size=LARGEST // 2))["status"] == 204
        assert not guard._arriving

    run(story())


def test_a_start_and_a_stop(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
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
