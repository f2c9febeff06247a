# What a build makes for a login that is not root lies in the release, below .pkgapp/login (src/release/services/login.rs), with
# marks for the places of this host.
# fill: copies text, with the places in the marks `{pkgapp:NAME}`, which the build leaves in no other text than its own. Places
# and text are no patterns: whatever they hold is taken as it is.
fill() {
  { cat && printf '{end'; } | into=$into current=$current runtime=$XDG_RUNTIME_DIR awk '
    function filled(text, end, name) {
      if (substr(text, 1, 7) != "pkgapp:") return "{" text
      end = index(text, "}")
      name = substr(text, 8, end - 8)
      if (!(name in places)) exit 1
      return places[name] substr(text, end + 1)
    }
    BEGIN {
      RS = "{"
      ORS = ""
      places["into"] = ENVIRON["into"]
      places["current"] = ENVIRON["current"]
      places["runtime"] = ENVIRON["runtime"]
      places["brace"] = "{"
    }
    NR == 2 { print last }
    NR > 2 { print filled(last) }
    { last = $0 }
    END { if (last != "end") exit 1 }'
}

# fill_login RELEASE TO: what the build has made, with the places of this host: what a transaction works with.
fill_login() {
  made=$1/.pkgapp/login current=$into/current
  mkdir -p "$2/units" "$2/etc" && cp -pR "$made/." "$2" || return 1
  while IFS= read -r path; do
    is_inside "$path" && fill <"$made/$path" >"$2/filling" && chmod "$(stat -c %a "$made/$path")" "$2/filling" &&
      mv -f "$2/filling" "$2/$path" || return 1
  done <"$made/filled"
  while IFS= read -r path; do
    is_inside "$path" && mkdir -p "$2/${path%/*}" && cp -p "$1/host/$path" "$2/$path" || return 1
  done <"$made/copied"
}
# export_directories DIRECTORY: the variables of a service's directories (systemd.exec(5)), below `shared`.
export_directories() {
  STATE_DIRECTORY=$into/shared/var/lib/$1 CACHE_DIRECTORY=$into/shared/var/cache/$1
  LOGS_DIRECTORY=$into/shared/var/log/$1 RUNTIME_DIRECTORY=$XDG_RUNTIME_DIR/$1
  export STATE_DIRECTORY CACHE_DIRECTORY LOGS_DIRECTORY RUNTIME_DIRECTORY
}
is_inside() { case /$1/ in // | //* | */../*) return 1 ;; esac; } # PATH
