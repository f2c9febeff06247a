# Roles and databases stay.
[ "$1" = remove ] || exit 0
command -v pg_lsclusters >/dev/null || exit 0
cluster=$(pg_lsclusters --no-header | awk '$3 == 5432 { print $1 "/" $2; exit }')
[ -n "$cluster" ] || exit 0
changed=$(cd / && runuser -u postgres -- sh "$share/edit" remove "$cluster")
[ -d /run/systemd/system ] || exit 0
unit=postgresql@$(echo "$cluster" | tr / -).service
case $changed in
  restart*) systemctl try-restart "$unit" ;;
  reload) systemctl try-reload-or-restart "$unit" ;;
esac
