"""gunicorn's worker and the express lane before it; see docs/decisions/0007 and 0008."""
