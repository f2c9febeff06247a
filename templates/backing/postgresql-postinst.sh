as_postgres() { (cd / && runuser -u postgres -- "$@"); }
works() { as_postgres psql -qXd postgres -p 5432 -c 'select 1' >/dev/null 2>&1; }
case $1 in configure | abort-*) ;; *) exit 0 ;; esac

cluster=$(pg_lsclusters --no-header | awk '$3 == 5432 { print $1 "/" $2; exit }')
if [ -z "$cluster" ]; then
  echo "$name: no cluster of PostgreSQL has port 5432; pg_createcluster(1) makes one" >&2
  exit 1
fi
changed=$(as_postgres sh "$share/edit" apply "$cluster")
# Without systemd, as in a chroot, PostgreSQL does not run.
[ -d /run/systemd/system ] || exit 0

running=$(echo "$cluster" | tr / -) settings=/etc/postgresql/$cluster/conf.d/pkgapp-$name.conf
unit=postgresql@$running.service
# An installation that was cut off may have written the settings, and not come to this.
if [ "$settings" -nt "/run/postgresql/$running.pid" ]; then changed=restart; fi
case $changed in
  restart*) systemctl restart "$unit" ;;
  *) systemctl reload-or-restart "$unit" ;;
esac
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
