"""Write audit entries to standard output as JSON lines, for those who ship logs."""

from __future__ import annotations

import json
import sys

from app.core.audit import Entry


def write(entry: Entry) -> None:
    """Write *entry* as one line, in one piece: workers share the output."""
    sys.stdout.write(json.dumps({"audit": entry.cursor} | entry.described()) + "\n")
    sys.stdout.flush()
