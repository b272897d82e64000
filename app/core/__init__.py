"""What decides: plain Python that knows no Flask, no Redis, no environment, no clock and no log."""
