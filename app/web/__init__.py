"""What speaks: the only package that knows HTTP."""
