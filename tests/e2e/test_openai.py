"""The real `openai` client through a real Traefik: it knows our token only, the backend its own key only."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from devkit.backend import Backend, EchoHandler, Seen
from devkit.proxies import Traefik, recipe
from devkit.redis_server import RedisServer
from devkit.server import read_body
from devkit.service import Gunicorn

pytestmark = pytest.mark.e2e

openai: Any = pytest.importorskip("openai")

HOST, KEY = "openai.example.com", "sk-key-of-the-backend"


class _ChatHandler(EchoHandler):
    server: ChatBackend

    def answer(self, seen: Seen) -> None:
        """Answer a chat completion as OpenAI does, and 401 without its key."""
        self.server.seen.append(seen)
        request = json.loads(read_body(self.rfile, seen.fields))
        if seen.fields.get("authorization") != f"Bearer {KEY}":
            self._send(401, {"error": {"message": "Incorrect API key provided"}})
        elif request.get("stream"):
            self._stream()
        else:
            self._send(200, _completion("chat.completion", message={"role": "assistant", "content": "Hello"}))

    def _send(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def _stream(self) -> None:
        """Send two events; the second one only after the client has read the first."""
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.wfile.write(head.encode())
        for word in ("Good", " day"):
            self._event(json.dumps(_completion("chat.completion.chunk", delta={"content": word})))
            if not self.server.is_read.wait(30):
                return  # what was sent has not arrived: something on the way waits for the end
        self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, data: str) -> None:
        event = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))


def _completion(kind: str, **content: object) -> dict[str, object]:
    choice = {"index": 0, "finish_reason": None, **content}
    return {"id": "1", "object": kind, "created": 1, "model": "gpt", "choices": [choice]}


class ChatBackend(Backend):
    """An API like OpenAI's that demands its key; *is_read* lets a stream go on."""

    def __init__(self) -> None:
        super().__init__(_ChatHandler)
        self.is_read = threading.Event()


@pytest.fixture(scope="module", name="chat")
def _chat() -> Iterator[ChatBackend]:
    with ChatBackend() as chat:
        yield chat


@pytest.fixture(scope="module", name="token")
def _token(service: Gunicorn) -> str:
    return service.issue(HOST, email="ann@example.com")


@pytest.fixture(scope="module", name="service")
def _service(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    with Gunicorn(redis_server.port, backends_file=_file(tmp_path_factory.mktemp("backends"))) as service:
        yield service


def _file(folder: Path) -> Path:
    (folder / "openai").write_text(f"{KEY}\n")
    file = folder / "backends.toml"
    file.write_text(recipe("The file", "toml", "docs/backends.md").replace("/run/secrets/", ""))
    return file


def _with_openai(text: str) -> str:
    """Return README.md's configuration with the routes of docs/recipes/openai.md."""
    routes, more = (yaml.safe_load(each) for each in (text, recipe("", "yaml", "docs/recipes/openai.md")))
    for kind, added in more["http"].items():
        routes["http"][kind] |= added
    return str(yaml.safe_dump(routes)).replace("https://api.openai.com", "http://ollama:11434")


@pytest.fixture(scope="module", name="traefik")
def _traefik(service: Gunicorn, chat: ChatBackend) -> Iterator[Traefik]:
    with Traefik(service.port, chat.port, _with_openai) as traefik:
        yield traefik


@pytest.fixture(name="connect")
def _connect(traefik: Traefik) -> Iterator[Any]:
    """Return a function that makes a client with a token."""
    clients: list[Any] = []

    def connect(token: str) -> Any:
        url, headers = f"http://127.0.0.1:{traefik.port}/v1", {"Host": HOST}
        clients.append(openai.OpenAI(api_key=token, base_url=url, default_headers=headers, max_retries=0))
        return clients[-1].chat.completions

    yield connect
    for client in clients:
        client.close()


ASK = {"model": "gpt", "messages": [{"role": "user", "content": "Hi"}]}


def test_completion(connect: Any, chat: ChatBackend, token: str) -> None:
    """The client gets its answer, and the backend has seen its own key alone."""
    completion = connect(token).create(**ASK)

    assert completion.choices[0].message.content == "Hello"
    assert chat.seen[-1].fields["authorization"] == f"Bearer {KEY}"
    assert chat.seen[-1].fields["host"] != HOST
    assert token not in str(chat.seen)
    assert "ann@example.com" not in str(chat.seen)


def test_patience() -> None:
    """By default the client waits and repeats as docs/recipes/openai.md says."""
    assert (openai.DEFAULT_TIMEOUT.read, openai.DEFAULT_MAX_RETRIES) == (10 * 60, 2)


def test_stream(connect: Any, chat: ChatBackend, token: str) -> None:
    """A stream arrives event by event, not when it is complete."""
    chat.is_read.clear()
    words = []
    for chunk in connect(token).create(**ASK, stream=True):
        words.append(chunk.choices[0].delta.content)
        chat.is_read.set()

    assert words == ["Good", " day"]
    assert token not in str(chat.seen)


@pytest.mark.parametrize("wrong", ["sk-wrong", KEY])
def test_other_keys(connect: Any, chat: ChatBackend, wrong: str) -> None:
    """A client without a token of ours reaches nothing, not even with the backend's key."""
    before = chat.hits
    with pytest.raises(openai.AuthenticationError):
        connect(wrong).create(**ASK)

    assert chat.hits == before
