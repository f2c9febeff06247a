#!/bin/sh
# Gives the paths that the application writes to their first content. Made by pkgapp. It runs as the user whose they are, and
# overwrites nothing. A path that was no link in the version before lies beside its link with the end `.pkgapp-old`.
umask 027
release=$(dirname "$(dirname "$0")") status=0

copy() { cp -R --preserve=mode,timestamps "$@"; }

# Copies from a directory into another one all that is missing there.
complete() { # FROM TO
  (cd "$1" && find . ! -type d) | while read -r file; do
    [ ! -e "$2/$file" ] && [ ! -L "$2/$file" ] || continue
    mkdir -p "$(dirname "$2/$file")" && cp -P --preserve=mode,timestamps "$1/$file" "$2/$file" || exit 1
  done
}

begin() { # PATH TARGET
  initial=$release/.pkgapp/initial/${1%/} old=$release/app/${1%/}.pkgapp-old new=$2.pkgapp-new
  mkdir -p "$(dirname "$2")" && rm -rf "$new" || return 1
  if [ -e "$old" ]; then
    copy "$old" "$new" || return 1
    if [ -d "$initial" ] && [ -d "$new" ]; then complete "$initial" "$new" || return 1; fi
  elif [ -e "$initial" ]; then copy "$initial" "$new" || return 1
  elif [ "$1" != "${1%/}" ]; then mkdir "$new" || return 1
  else return 0; fi
  chmod -R u+rwX "$new" && mv -T "$new" "$2"
}

go_on() { # PATH TARGET
  old=$release/app/${1%/}.pkgapp-old
  if [ -d "$old" ] && [ -d "$2" ]; then complete "$old" "$2"
  elif [ -e "$old" ] && [ ! -e "$2.pkgapp-old" ]; then copy "$old" "$2.pkgapp-old"; fi
}

while read -r path; do
  target=$(readlink "$release/app/${path%/}") || continue
  if [ -e "$target" ] || [ -L "$target" ]; then act=go_on; else act=begin; fi
  $act "$path" "$target" || { echo "cannot copy what belongs into $target" >&2; status=1; }
done <"$release/.pkgapp/writable"
exit $status
