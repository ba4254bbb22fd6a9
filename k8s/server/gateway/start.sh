#!/bin/sh
# Starts nginx, on IPv4 and, where the node has it, on IPv6: nginx.conf cannot say "where there is", and `listen [::]` ends
# nginx on a node without it. An answer from both is needed: kubelet and clients use whichever family comes first.
set -eu
state=/var/lib/gateway
rm -f "$state"/ipv6-*
if [ -e /proc/net/if_inet6 ]; then
  echo 'listen [::]:8080 backlog=4096;' > "$state/ipv6-clients"
  echo 'listen [::]:8081;' > "$state/ipv6-inside"
fi
exec nginx -e /dev/stderr -c /etc/gateway/nginx.conf
