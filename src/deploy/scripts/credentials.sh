# Secrets that are files, which systemd passes to services as credentials (LoadCredential= in systemd.exec(5)). A login without
# root has files that its services read themselves.
#   name         the application's
#   credentials  their names, as words, or nothing

# find_store: sets `store_` to what stands before the names of their files, `sealed_` to `yes` if these are encrypted, and `lack_`
# to why systemd passes none on, or to nothing.
find_store() {
  lack_='' sealed_='' store_=/etc/$name/credentials/
  if [ $mode = tarball ]; then
    store_=$into/shared$store_
    return
  fi
  [ -n "$credentials" ] || return 0
  version_=$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]\{1,\}\).*/\1/p')
  if [ -z "$version_" ]; then lack_='there is no systemd'
  elif [ "$version_" -lt 247 ]; then lack_="systemd $version_ has no credentials: 247 is the first that has them"
  elif [ "$version_" -lt 250 ]; then :
  # These would take encrypted ones, and do not look where later ones do.
  elif [ "$version_" -lt 252 ]; then lack_="systemd $version_ finds no encrypted credentials: 252 is the first that does"
  else sealed_=yes store_=/etc/credstore.encrypted/$name.; fi
}
is_credential() { case " ${credentials-} " in *" $1 "*) ;; *) return 1 ;; esac; } # NAME
