"""What tests, chaos drills and benchmarks share: processes, servers, clients and loads."""
