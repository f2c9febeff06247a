# Unpacks a tarball as a release beside the others, links what releases share, and puts the places of this host into what a
# login that is not root has of it. `current` and what runs stay as they are. Arguments: the application's name, the tarball, its
# SHA-256, the release's name, the SHA-256 of its record, the prefix that it was built for, and the shared paths.
hold_lock
umask 022
name=$1 file=$2 sum=$3 id=$4 record=$5 prefix=$6
shift 6
release=$into/releases/$id kept=$packages/$sum new=$state/unpacking

# Directories end in `/`. What a release brings along is what the shared path begins with.
share() {
  target=$into/shared/${1%/} link=$new/release/${1%/}
  if [ ! -e "$target" ] && [ ! -L "$target" ]; then
    mkdir -p "${target%/*}" || return 1
    if [ -e "$link" ]; then
      rm -rf "$target.pkgapp-new"
      cp -a "$link" "$target.pkgapp-new" && mv -T "$target.pkgapp-new" "$target" || return 1
    elif [ "$1" != "${1%/}" ]; then mkdir "$target" || return 1; fi
  fi
  rm -rf "$link"
  mkdir -p "${link%/*}" || return 1
  # From releases/ID/, and one more for each directory in between.
  up=../.. rest=${1%/}
  while [ "$rest" != "${rest#*/}" ]; do up=$up/.. rest=${rest#*/}; done
  ln -s "$up/shared/${1%/}" "$link"
}

# shared_link PATH: the link that the path is or lies below, if there is one.
shared_link() {
  at=$1
  while [ "$at" != . ]; do
    if [ -L "$new/release/$at" ]; then say "$at"; return; fi
    at=$(dirname "$at")
  done
}

is_whole() { [ -d "$release" ] && [ -s "$kept/files" ] && [ "$(sha256_of "$release/.pkgapp/release.json" 2>/dev/null)" = "$record" ]; }
if ! is_whole; then
  [ "$(sha256sum <"$file" | cut -d' ' -f1)" = "$sum" ] || fail "$file is damaged"
  rm -rf "$new"
  mkdir -p "$into/releases" "$new/top" || exit 1
  case $file in
    *.zst) unpacker='zstd -dcq' ;;
    *.gz) unpacker='gzip -dc' ;;
    *.xz) unpacker='xz -dc' ;;
    *.tar) unpacker='cat' ;;
    *) fail "$file is no tarball" ;;
  esac
  { $unpacker <"$file" || : >"$new/failed"; } | tar -xf - -C "$new/top" --no-same-owner && [ ! -e "$new/failed" ] ||
    fail "cannot unpack $file"
  mv "$new/top"/* "$new/release" || exit 1
  [ "$(sha256sum <"$new/release/.pkgapp/release.json" | cut -d' ' -f1)" = "$record" ] || fail "$file holds another release"
  [ -x "$new/release/bin/python" ] || fail "$(readlink "$new/release/bin/python") is missing, and the release needs it"
  for path; do share "$path" || fail "cannot share $path"; done
  # What the application writes to lies with what is shared, too.
  if [ -e "$new/release/.pkgapp/writable" ]; then
    while read -r path; do
      case /$path/ in // | //* | */../*) fail "$file says that it writes to $path" ;; esac
      [ -n "$(shared_link "app/${path%/}")" ] || share "app/$path" || fail "cannot share app/$path"
    done <"$new/release/.pkgapp/writable"
  fi
  (cd "$new/release" && find . -type f -exec sha256sum {} + && find . -type l -printf 'link  %p -> %l\n') >"$new/files" &&
    mv "$new/files" "$kept/files" || exit 1
  sync -f "$new/release" 2>/dev/null || sync
  # What is there is damaged.
  if [ -d "$release" ]; then rm -rf "$release.damaged" && mv -T "$release" "$release.damaged" || exit 1; fi
  mv -T "$new/release" "$release" && to_disk "$into/releases" || exit 1
  rm -rf "$new" "$release.damaged"
fi

rm -rf "$kept/host.new"
mkdir -p "$kept/host.new" || exit 1
if [ -d "$release/.pkgapp/login" ]; then
  fill_login "$release" "$kept/host.new" || fail "cannot make units of those in $release/.pkgapp/login"
else
  derive_login "$release/host" "$kept/host.new" || fail "cannot make units of those in $release/host"
fi
# The switch goes on by itself after a loss of power, and then it needs this.
sync -f "$kept/host.new" 2>/dev/null || sync
rm -rf "$kept/host"
mv -T "$kept/host.new" "$kept/host" && to_disk "$kept" || exit 1

for unit in "$kept/host/units"/*; do
  [ -f "$unit" ] || continue
  there=$unit_files/${unit##*/}
  if [ -e "$there" ] && ! grep -qxF "# pkgapp: $into" "$there"; then
    fail "$there is there already, and is not of a release in $into"
  fi
done
if [ -s "$kept/host/crontab" ] && ! command -v crontab >/dev/null; then
  fail "the release has cron jobs, and there is no crontab here: ask root for cron, or declare the jobs as [timer.NAME]"
fi
if [ -s "$kept/host/enabled" ] && [ "$PKGAPP_UNITS" = user ]; then
  [ -d /run/systemd/system ] || fail "the release has units, and systemd does not run here"
  if ! lingers && ! loginctl --no-ask-password enable-linger >/dev/null 2>&1; then
    fail "services of $login would end with its last login, as it may not linger: ask root for \`loginctl enable-linger $login\`"
  fi
  tries=0
  until has_systemd; do
    tries=$((tries + 1))
    [ $tries -lt 50 ] || fail "systemd runs nothing for $login: $XDG_RUNTIME_DIR/systemd/private is missing"
    sleep 0.2
  done
fi
say "unpacked"
