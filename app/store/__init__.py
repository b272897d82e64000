"""The only package that accesses Redis (docs/decisions/0001)."""
