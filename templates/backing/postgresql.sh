# The cluster of PostgreSQL that applications use: the one with port 5432. What is written below its directories, which belong to
# postgres, is written as postgres.
name='{{ name }}' share='{{ share }}'
here() { [ -d /run/systemd/system ]; }
as_postgres() { runuser -u postgres -- "$@"; }
# find_cluster: sets `cluster`, such as 15/main, or nothing.
find_cluster() {
  cluster=
  if command -v pg_lsclusters >/dev/null; then cluster=$(pg_lsclusters --no-header | awk '$3 == 5432 { print $1 "/" $2; exit }'); fi
}
# put FILE: replaces it with the standard input, unless it has that already; sets `changed`.
put() {
  if as_postgres sh -c 'cat >"$1.pkgapp-new" && { ! cmp -s "$1.pkgapp-new" "$1" || { rm "$1.pkgapp-new" && exit 3; }; } &&
    { [ ! -e "$1" ] || chmod --reference="$1" "$1.pkgapp-new"; } && mv "$1.pkgapp-new" "$1"' sh "$1"
  then changed=yes
  else [ $? = 3 ]; fi
}
# without_block FILE: prints it without the block of this package.
without_block() { sed "/^# pkgapp begins $name\$/,/^# pkgapp ends $name\$/d" "$1"; }
# apply_settings [remove]: writes where PostgreSQL listens and whom it admits, and makes it heed that.
apply_settings() {
  etc=/etc/postgresql/$cluster changed=
  settings=$etc/conf.d/pkgapp-$name.conf
  if [ -z "${1-}" ] && [ -f "$share/postgresql.conf" ]; then put "$settings" <"$share/postgresql.conf"
  elif [ -e "$settings" ]; then as_postgres rm "$settings" && changed=yes
  fi
  restart=$changed changed=
  {
    # The first line that fits decides.
    if [ -z "${1-}" ]; then printf '# pkgapp begins %s\n' "$name" && cat "$share/pg_hba.conf" && printf '# pkgapp ends %s\n' "$name"; fi
    without_block "$etc/pg_hba.conf"
  } | put_all "$etc/pg_hba.conf"
  here || return 0
  unit=postgresql@$(printf %s "$cluster" | tr / -).service
  if [ -n "$restart" ]; then systemctl restart "$unit"
  elif ! systemctl --quiet is-active "$unit"; then systemctl start "$unit"
  elif [ -n "$changed" ]; then systemctl reload "$unit"
  fi
}
