#!/bin/sh
# Run the second Redis, at first as a replica of $1. Its configuration is in its volume, because it has to remember its
# role: once promoted, it must not become a replica again when the stack starts, and lose what the old primary has not.
set -eu
primary=$1
shift
[ -s /data/redis.conf ] || printf 'include /secrets/redis.conf\nreplicaof %s 6379\n' "$primary" >/data/redis.conf
exec redis-server /data/redis.conf "$@"
