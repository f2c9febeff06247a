# Run as postgres, to whom the files belong: writes where PostgreSQL listens and whom it admits, and prints `restart` or `reload` if
# that has changed something. Arguments: `apply`, or `remove`, which takes it all away; the cluster, such as 15/main.
set -eu
umask 027
way=$1 etc=/etc/postgresql/$2
settings=$etc/conf.d/pkgapp-$name.conf rules=$etc/pg_hba.conf
# put FILE: replaces it with the standard input; fails if it has that already.
put() {
  cat >"$1.pkgapp-new"
  if cmp -s "$1.pkgapp-new" "$1"; then rm "$1.pkgapp-new"; return 1; fi
  if [ -e "$1" ]; then chmod --reference="$1" "$1.pkgapp-new"; fi
  mv "$1.pkgapp-new" "$1"
}

if [ "$way" = apply ] && [ -f "$share/postgresql.conf" ]; then
  if put "$settings" <"$share/postgresql.conf"; then echo restart; fi
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
} >"$rules.pkgapp-all"
if put "$rules" <"$rules.pkgapp-all"; then echo reload; fi
rm "$rules.pkgapp-others" "$rules.pkgapp-all"
