"""Prints the exceptions with which SDKs report refusals: for each SDK in the arguments, one per request.

It runs with what ``make .venv/.clients`` installs apart from the tests' own packages. The requests come from
stdin as JSON, each a URL and a secret or null. So do documented programs, of which it prints the output, and
the MCP server that one of them needs, with its port.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from devkit.waiting import until

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
Hook = Callable[[Any], Awaitable[None]]


def _openai(url: str, secret: str | None) -> None:
    from openai import OpenAI

    client = OpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0)
    client.chat.completions.create(model="any", messages=MESSAGES)


def _litellm(url: str, secret: str | None) -> None:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it downloads a table of prices first
    import litellm

    litellm.suppress_debug_info = True
    litellm.completion("openai/any", MESSAGES, api_base=f"{url}/v1", api_key=secret, max_retries=0)


def _ollama(url: str, secret: str | None) -> None:
    import ollama

    ollama.Client(url, headers=_bearer(secret)).list()


def _firecrawl(url: str, secret: str | None) -> None:
    from firecrawl import Firecrawl

    Firecrawl(api_url=url, api_key=secret, max_retries=0).scrape("https://example.com")


def _mcp(url: str, secret: str | None) -> None:
    asyncio.run(_initialize(url, _bearer(secret)))


def _mcp_with_hook(url: str, secret: str | None) -> None:
    asyncio.run(_initialize(url, _bearer(secret), raise_refusal))


async def raise_refusal(response: Any) -> None:
    """Raise the reason of a refusal, which the SDK would not show."""
    if response.headers.get("Content-Type") == "application/problem+json":
        await response.aread()
        raise PermissionError(response.json()["detail"])


async def _initialize(url: str, headers: dict[str, str], *hooks: Hook) -> None:
    import httpx2
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    timeout = httpx2.Timeout(30, read=300)
    async with (
        httpx2.AsyncClient(headers=headers, timeout=timeout, event_hooks={"response": [*hooks]}) as client,
        streamable_http_client(f"{url}/mcp", http_client=client) as (read, write),
        ClientSession(read, write) as session,
    ):
        await session.initialize()


def _bearer(secret: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"} if secret else {}


CLIENTS: dict[str, Callable[[str, str | None], None]] = {
    "openai": _openai,
    "litellm": _litellm,
    "ollama": _ollama,
    "firecrawl-py": _firecrawl,
    "mcp": _mcp,
    "mcp with the hook": _mcp_with_hook,
}


def report(call: Callable[[str, str | None], None], url: str, secret: str | None) -> str:
    """Return the type and text of the exception that *call* raises, the first one of a group."""
    try:
        call(url, secret)
    except Exception as error:  # noqa: BLE001 - whatever an SDK raises
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        return f"{type(error).__name__}: {error}"
    return ""


def is_open(port: int) -> bool:
    """Return whether a server listens."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def serve(code: str, port: int) -> None:
    """Run a program in the background, and wait until it listens."""
    threading.Thread(target=exec, args=(code, {}), daemon=True).start()
    until(lambda: is_open(port))


def printed(code: str) -> str:
    """Return what a program prints."""
    with redirect_stdout(StringIO()) as output:
        exec(code, {})  # noqa: S102 - it is our own
    return output.getvalue()


if __name__ == "__main__":
    given = json.load(sys.stdin)
    reports = {name: [report(CLIENTS[name], *each) for each in given["requests"]] for name in sys.argv[1:]}
    outputs = {name: printed(code) for name, code in given["programs"].items() if name != "mcp"}
    if "server" in given:
        serve(given["server"], given["port"])
        outputs["mcp"] = printed(given["programs"]["mcp"])
    print(json.dumps({"reports": reports, "printed": outputs}))
