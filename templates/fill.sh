#!/bin/sh
# Gives the paths that the application writes to their first content, and overwrites nothing. Made by pkgapp; runs as the user
# who owns them. If the version before had no link at such a path, what it had there lies beside the link, as PATH.pkgapp-old.
umask 027
release=$(dirname "$(dirname "$0")") status=0

copy() { cp -RT --preserve=mode,timestamps "$@"; }

# Copies what TO lacks. It fails if it cannot read something: whoever called it removes FROM.
complete() { # FROM TO
  # shellcheck disable=SC2016 # it is the other shell that expands it
  (cd "$1" && find . ! -type d -exec sh -c '
    to=$0
    for file; do
      [ ! -e "$to/$file" ] && [ ! -L "$to/$file" ] || continue
      mkdir -p "$(dirname "$to/$file")" && cp -P --preserve=mode,timestamps "$file" "$to/$file" || exit 1
    done' "$2" {} +)
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
  [ -e "$old" ] || return 0
  if [ -d "$old" ] && [ -d "$2" ]; then complete "$old" "$2"
  elif cmp -s "$old" "$2" || cmp -s "$old" "$2.pkgapp-old"; then return 0
  else copy --backup=numbered "$old" "$2.pkgapp-old"; fi
}

while IFS= read -r path; do
  if ! target=$(readlink "$release/app/${path%/}"); then
    echo "$release/app/${path%/} is not a link" >&2
    status=1
    continue
  fi
  if [ -e "$target" ] || [ -L "$target" ]; then act=go_on; else act=begin; fi
  $act "$path" "$target" || { echo "cannot copy the files of $target" >&2; status=1; }
done <"$release/.pkgapp/writable"
exit $status
