# Run as postgres, to whom the files belong: writes where PostgreSQL listens and whom it admits, and prints `restart` or `reload` if
# that has changed something. Arguments: `apply`, or `remove`, which takes it all away; the cluster, such as 15/main.
set -eu
umask 027
way=$1 etc=/etc/postgresql/$2
settings=$etc/conf.d/pkgapp-$name.conf rules=$etc/pg_hba.conf
trap 'rm -f "$settings.pkgapp-new" "$rules.pkgapp-new" "$rules.pkgapp-others"' EXIT
# put FILE: replaces it with FILE.pkgapp-new, unless that is the same. The new one is on the disk before it has the name.
put() {
  if cmp -s "$1.pkgapp-new" "$1"; then return 1; fi
  { [ ! -e "$1" ] || chmod --reference="$1" "$1.pkgapp-new"; } && sync "$1.pkgapp-new" && mv "$1.pkgapp-new" "$1" || exit 1
}

if [ "$way" = apply ] && [ -f "$share/postgresql.conf" ]; then
  cat "$share/postgresql.conf" >"$settings.pkgapp-new"
  if put "$settings"; then echo restart; fi
elif [ -e "$settings" ]; then
  rm "$settings"
  echo restart
fi

sed "/^# pkgapp begins $name\$/,/^# pkgapp ends $name\$/d" "$rules" >"$rules.pkgapp-others"
{
  # The first rule that fits decides.
  if [ "$way" = apply ]; then
    printf '# pkgapp begins %s\n' "$name"
    cat "$share/pg_hba.conf"
    printf '# pkgapp ends %s\n' "$name"
  fi
  cat "$rules.pkgapp-others"
} >"$rules.pkgapp-new"
if put "$rules"; then echo reload; fi
