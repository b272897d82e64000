"""Serves: gunicorn's worker and the express lane; see docs/decisions/0007 and 0008."""
