"""Processes, servers, clients and loads for tests, chaos drills and benchmarks."""
