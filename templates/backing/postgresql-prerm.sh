# Roles and databases stay.
[ "$1" = remove ] || exit 0
command -v pg_lsclusters >/dev/null || exit 0
cluster=$(pg_lsclusters --no-header | awk '$3 == 5432 { print $1 "/" $2; exit }')
[ -n "$cluster" ] || exit 0
changed=$(cd / && runuser -u postgres -- sh "$share/edit" remove "$cluster" | head -n1)
if [ -d /run/systemd/system ] && [ -n "$changed" ]; then
  systemctl "$changed" "postgresql@$(echo "$cluster" | tr / -).service"
fi
