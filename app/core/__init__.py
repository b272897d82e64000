"""The service's rules, without Flask, Redis, environment, clock or logging (docs/decisions/0001)."""
