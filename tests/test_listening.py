"""The addresses that BIND accepts."""

from __future__ import annotations

import pytest

from app import listening


@pytest.mark.parametrize(
    ("bind", "for_gunicorn"),
    [
        ("0.0.0.0:8000", "0.0.0.0:8000"),
        (":8000", "0.0.0.0:8000"),
        ("*:08000", "0.0.0.0:8000"),
        ("tcp://LocalHost:1", "localhost:1"),
        ("my-host_1.example.com:65535", "my-host_1.example.com:65535"),
        ("[::]:8000", "[::]:8000"),
        ("[0::0:1]:80", "[::1]:80"),
        ("unix:/run/a.sock", "unix:/run/a.sock"),
        ("unix:///run/A:1.sock", "unix:/run/A:1.sock"),
        ("Unix:a.sock", "unix:a.sock"),
        ("127.0.0.1:1,unix:/s,[::1]:2", "127.0.0.1:1,unix:/s,[::1]:2"),
    ],
)
def test_accepted(bind: str, for_gunicorn: str) -> None:
    """Each accepted spelling of an address is normalized for gunicorn."""
    assert listening.parse(bind) == for_gunicorn
    assert listening.parse(for_gunicorn) == for_gunicorn


@pytest.mark.parametrize(
    "bind",
    [
        *("8000", "localhost", "localhost:", "::1:8000", "[::1]", "[::1]8000", "[::1::]:1", "[a]:1", "[]:1"),
        *("a:0", "a:65536", "a:-1", "a:٣", "a:8000 ", " a:1", "a b:1", "a..b:1", f"{'a' * 64}:1", "é:1"),
        *(
            "a:1,",
            ",a:1",
            "a:1, b:1",
            "http://a:1",
            "fd://3",
            "unix",
            "unix:",
            "unix://",
            "unix:/run/",
            "unix:@a",
        ),
        *(
            "unix:/a\nb",
            "unix:/a\x00b",
            f"unix:/{'a' * 107}",
            "/run/a.sock",
            "udp://a:1",
            "a:1,A:1",
            ":1,*:1",
        ),
    ],
)
def test_refused(bind: str) -> None:
    """Addresses that gunicorn would reject or misread, or that the health check can't reach, are refused."""
    with pytest.raises(ValueError, match=r"unix:|at most|twice"):
        listening.parse(bind)
