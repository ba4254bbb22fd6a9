#!/bin/sh
# Starts nginx, on IPv4 and, where the node has it, on IPv6: nginx.conf cannot say "where there is", and `listen [::]` ends
# nginx on a node without it. An answer from both is needed: kubelet and clients use whichever family comes first.
set -eu
state=/var/lib/gateway
rm -f "$state"/ipv6-* "$state"/cache-*
if [ -e /proc/net/if_inet6 ]; then
  echo 'listen [::]:8080 backlog=4096;' > "$state/ipv6-clients"
  echo 'listen [::]:8081;' > "$state/ipv6-inside"
fi
# Answers are kept in a volume in memory. What bounds it at every moment is the zone of their names, 128 bytes each: so
# many for a MiB that each may have two pages. nginx looks at the bytes every ten seconds only.
if [ -n "${CACHE_MIB:-}" ]; then
  rm -rf /var/cache/gateway/*
  echo "proxy_cache_path /var/cache/gateway keys_zone=answers:$((CACHE_MIB * 16))k max_size=${CACHE_MIB}m" \
    "inactive=10m use_temp_path=off;" > "$state/cache-zone"
  cp /etc/gateway/cache.conf "$state/cache-server"
fi
exec nginx -e /dev/stderr -c /etc/gateway/nginx.conf
