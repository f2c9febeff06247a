as_postgres() { (cd / && runuser -u postgres -- "$@"); }
works() { as_postgres psql -qXd postgres -p 5432 -c 'select 1' >/dev/null 2>&1; }
case $1 in configure | abort-*) ;; *) exit 0 ;; esac

cluster=$(pg_lsclusters --no-header | awk '$3 == 5432 { print $1 "/" $2; exit }')
if [ -z "$cluster" ]; then
  echo "$name: no cluster of PostgreSQL has port 5432; pg_createcluster(1) makes one" >&2
  exit 1
fi
changed=$(as_postgres sh "$share/edit" apply "$cluster" | head -n1)
# Without systemd, as in a chroot, PostgreSQL does not run.
[ -d /run/systemd/system ] || exit 0

unit=postgresql@$(echo "$cluster" | tr / -).service
if [ "$changed" = restart ]; then systemctl restart "$unit"
elif ! systemctl --quiet is-active "$unit"; then systemctl start "$unit"
elif [ -n "$changed" ]; then systemctl reload "$unit"
fi
waited=0
until works; do
  waited=$((waited + 1))
  if [ $waited -gt 60 ]; then
    echo "$name: PostgreSQL does not answer; \`journalctl -u $unit\` tells more" >&2
    exit 1
  fi
  sleep 0.5
done
as_postgres psql -qXd postgres -p 5432 -v ON_ERROR_STOP=1 -f "$share/grants.sql"
