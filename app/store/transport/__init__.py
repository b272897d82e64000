"""How Redis is reached: connections, shared round trips, Sentinels, Clusters and deadlines."""
