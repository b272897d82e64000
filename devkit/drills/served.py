"""`python -m devkit.drills.served`: one decision of a whole service, whose processes coverage can measure."""

from devkit.redis_server import RedisServer
from devkit.service import Gunicorn


def main() -> None:
    """Check that a new token is allowed."""
    with RedisServer() as server, Gunicorn(server.port) as service:
        assert service.auth(service.issue()).status == 200


if __name__ == "__main__":
    main()
