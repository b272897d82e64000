"""What remembers: the only package that speaks to Redis."""
