"""The schemas of Kubernetes: kubernetes-validate as a module that starts in a tenth of its time."""

from __future__ import annotations

import sys
from functools import cache

VALIDATE = (sys.executable, "-m", "devkit.kubernetes_schemas", "--strict")

if __name__ == "__main__":
    # A grammar of addresses, which takes seconds to build and which no schema of Kubernetes uses.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    from kubernetes_validate import utils
    from kubernetes_validate.__main__ import main

    utils.schema_contents = cache(utils.schema_contents)  # not anew for each object
    sys.exit(main())
