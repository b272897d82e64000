"""A client that openapi-python-client generates from the running service's description works with it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devkit.http import call
from devkit.service import ADMIN_PASS, ADMIN_USER, BASIC, Gunicorn

pytestmark = pytest.mark.e2e
NAME = "acl_auth_service_client"


@pytest.fixture(name="generated")
def _generated(service: Gunicorn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Generate the client and make it importable."""
    document = tmp_path / "openapi.json"
    document.write_bytes(call(service.port, "/api/v1/openapi.json", [("Authorization", BASIC)]).body)
    (tmp_path / "config.yaml").write_text("post_hooks: []\n")  # they would format it
    program = str(Path(sys.executable).with_name("openapi-python-client"))
    options = ["--path", str(document), "--config", str(tmp_path / "config.yaml"), "--fail-on-warning"]
    options += ["--meta", "none", "--output-path", str(tmp_path / NAME)]
    run = subprocess.run([program, "generate", *options], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / NAME
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[name]


def test_life_of_a_token(service: Gunicorn, generated: Path) -> None:
    """It creates, lists, tries, edits, rotates and deletes a token, and reads errors."""
    api, models = f"{NAME}.api.default", importlib.import_module(f"{NAME}.models")
    client = importlib.import_module(f"{NAME}.client").Client(
        base_url=f"http://127.0.0.1:{service.port}/api/v1",
        httpx_args={"auth": (ADMIN_USER, ADMIN_PASS)},
        raise_on_unexpected_status=True,
    )

    def ask(operation: str, *args: Any, **more: Any) -> Any:
        return importlib.import_module(f"{api}.{operation}").sync_detailed(*args, client=client, **more)

    with client:
        made = ask(
            "create_token", body=models.NewToken(hosts=["a.test"], comment="c"), idempotency_key='"k1"'
        )
        name, tag = made.parsed.id, made.headers["ETag"]
        again = ask(
            "create_token", body=models.NewToken(hosts=["a.test"], comment="c"), idempotency_key='"k1"'
        )
        listed = ask("list_tokens", q=name).parsed
        tried = ask("try_request", body=models.Attempt(id=name, host="b.test")).parsed
        edited = ask("edit_token", name, body=models.Change(hosts="b.test"), if_match=tag)
        stale = ask("edit_token", name, body=models.Change(hosts="c.test"), if_match=tag)
        rotated = ask("rotate_token", name, body=models.Rotation(grace_seconds=0)).parsed
        shown = ask("show_token", name).parsed
        deleted = ask("delete_token", name)
        missing = ask("show_token", name).parsed

    assert (made.status_code, again.status_code, again.parsed.id) == (201, 409, name)
    assert [token.id for token in listed.tokens] == [name]
    assert (tried.allowed, tried.verdict.value, tried.field) == (False, "wrong_host", "hosts")
    assert (edited.parsed.hosts, stale.status_code) == (["b.test"], 412)
    assert rotated.token != made.parsed.token
    assert (len(shown.usage.hours), shown.comment) == (48, "c")
    assert (deleted.status_code, missing.status) == (204, 404)
    assert {path.stem for path in (generated / "api/default").glob("*.py")} >= {"try_request", "openapi"}
