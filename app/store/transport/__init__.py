"""The connection to Redis: pooled clients, pipelines, Sentinel, Cluster, scripts and deadlines."""
