#!/bin/sh
# Run a sentinel, which keeps its configuration in its volume; $1 is COMPOSE_PROFILES.
set -eu
case ",$1," in *,ha,*) ;; *)
  echo "Write COMPOSE_PROFILES=ha into .env in place of --profile ha: the service has to know of the sentinels." >&2
  exit 1 ;;
esac
if [ ! -s /data/sentinel.conf ]; then
  cp /secrets/sentinel.conf /data/first.conf
  mv /data/first.conf /data/sentinel.conf
fi
exec redis-server /data/sentinel.conf --sentinel
