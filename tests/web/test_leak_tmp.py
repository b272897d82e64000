from tests.web.test_api import Api
from typing import Any
def test_x(client, database: Any):
    api = Api(client)
    made = api.make()
    database.hset(f"tokens:{made['sha256']}", "rate_limit_max", "many")
    assert api.auth(made["token"]) == 503
