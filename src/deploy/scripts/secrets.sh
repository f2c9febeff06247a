# The file of the application's secrets: where it lies, whom it is written for, and what is in it. Values are data of sh itself and
# of awk: no argument list and no environment of a program has them.
#   name    the application's
#   file    where a package has it, e.g. /etc/shop/secrets.env
#   group   who may read it besides root, where packages are installed; or nothing
# Before it stands credentials.sh: secrets that are files are kept, changed and brought back together with this one.
secrets=$state/secrets most_bytes=1048576
below=''
if [ $mode = tarball ]; then below=$into file=$into/shared$file; fi

# judge_place: sets `why_` to why the file cannot be trusted, or to nothing. Who controlled a name on the way to it could have
# secrets written elsewhere, or read: each directory is ours, no link, and nobody else's to write to. So is the file.
judge_place() {
  why_=''
  judge_file "$file"
  for each in $credentials; do judge_file "$store_$each"; done
}
judge_file() { # PATH
  at_=${1%/*}
  while [ -n "$at_" ] && [ "$at_" != "$below" ]; do
    judge_name "$at_"
    at_=${at_%/*}
  done
  judge_name "$1"
  if [ -e "$1" ] && [ ! -f "$1" ]; then why_="\`$1\` is no regular file"; fi
}
judge_name() { # PATH
  if [ -L "$1" ]; then why_="\`$1\` is a symbolic link"
  elif [ -e "$1" ] && [ ! -O "$1" ]; then why_="\`$1\` belongs to \`$(stat -c %U "$1")\`, not to \`$(id -un)\`"
  elif [ -e "$1" ]; then
    mode_=$(stat -c %a "$1")
    case $mode_ in *[2367] | *[2367]?) why_="\`$1\` can be written by others than \`$(id -un)\` (mode $mode_)" ;; esac
  fi
}
# judge_content: whether it is a file of variables of a size that makes sense; sets `why_`.
judge_content() {
  why_=''
  [ -e "$file" ] || return 0
  if [ "$(stat -c %s "$file")" -gt $most_bytes ]; then why_="\`$file\` is larger than 1 MiB"
  elif [ "$(head -c $most_bytes "$file" | tr -cd '\000' | wc -c)" != 0 ]; then why_="\`$file\` has NUL characters in it"; fi
}
trust_place() {
  find_store
  [ -z "$lack_" ] || credentials=
  judge_place
  [ -n "$why_" ] || judge_content
  [ -z "$why_" ] || fail "cannot use the file of secrets: $why_"
}

# variables WHAT FILE...: reads a file of variables as systemd does (parse_env_file_internal in its src/basic/env-file.c).
#   values   prints those that are in force as NAME=VALUE; a newline in a value is shown as \001
#   edit     takes new lines, NAME=TEXT, from the first file, and prints the second one with them: in the place of the line that was
#            in force, or at the end. Exits with 3 if a quote is not closed, and with 4 if two variables share a line.
variables() {
  what_=$1
  shift
  awk -v what="$what_" '
    function is_end(c) { return c == "\n" || c == "\r" }
    function finish(at) {
      sub(/[ \t]+$/, "", key)
      for (at = begun; at <= number; at++) owners[at]++
      state = "before"
      if (key !~ /^[A-Za-z_][A-Za-z0-9_]*$/) return
      count++
      names[count] = key
      values[count] = text
      first[count] = begun
      last[count] = number
      force[key] = count
    }
    function step_value(c) {
      if (state == "start") {
        if (is_end(c)) finish()
        else if (c == "\047") state = "single"
        else if (c == "\"") state = "double"
        else if (c == "\\") state = "escape"
        else if (c != " " && c != "\t") { state = "value"; text = text c; white = "" }
      } else if (state == "value") {
        if (is_end(c)) finish()
        else if (c == "\\") { state = "escape"; text = text white; white = "" }
        else if (c == " " || c == "\t") white = white c
        else { text = text white c; white = "" }
      } else if (state == "escape") {
        state = "value"
        white = ""
        if (!is_end(c)) text = text c
      } else if (state == "single") {
        if (c == "\047") state = "start"
        else text = text c
      } else if (state == "double") {
        if (c == "\"") state = "start"
        else if (c == "\\") state = "double-escape"
        else text = text c
      } else {
        state = "double"
        if (c == "\"" || c == "\\" || c == "`" || c == "$") text = text c
        else if (c != "\n") text = text "\\" c
      }
    }
    function step(c) {
      if (state == "before") {
        if (c == "#" || c == ";") state = "comment"
        else if (c != " " && c != "\t" && !is_end(c)) { state = "key"; key = c; begun = number }
      } else if (state == "key") {
        if (is_end(c)) state = "before"
        else if (c == "=") { state = "start"; text = "" }
        else key = key c
      } else if (state == "comment") {
        if (c == "\\") state = "comment-escape"
        else if (is_end(c)) state = "before"
      } else if (state == "comment-escape") state = "comment"
      else step_value(c)
    }
    function print_values(i) {
      for (i = 1; i <= count; i++) {
        if (force[names[i]] != i) continue
        gsub(/\n/, "\001", values[i])
        print names[i] "=" values[i]
      }
    }
    function print_edited(i, at) {
      for (i = 1; i <= count; i++) {
        if (!(names[i] in lines)) continue
        for (at = first[i]; at <= last[i]; at++) {
          if (owners[at] > 1) exit 4
          gone[at] = 1
        }
        if (force[names[i]] == i) { put[first[i]] = lines[names[i]]; is_put[names[i]] = 1 }
      }
      for (at = 1; at <= number; at++) {
        if (at in put) print put[at]
        if (!(at in gone)) print old[at]
      }
      # A last line that goes on would take the next one with it.
      if (goes_on) print ""
      for (i = 1; i <= added; i++) if (!(order[i] in is_put)) print lines[order[i]]
    }
    BEGIN { state = "before" }
    what == "edit" && NR == FNR {
      at = index($0, "=")
      order[++added] = substr($0, 1, at - 1)
      lines[order[added]] = $0
      next
    }
    {
      old[++number] = $0
      for (i = 1; i <= length($0); i++) step(substr($0, i, 1))
      step("\n")
    }
    END {
      goes_on = state != "before"
      is_open = state == "single" || state == "double"
      if (is_open || state == "value") finish()
      if (what == "values") print_values()
      else if (is_open) exit 3
      else print_edited()
    }' "$@"
}
values() { if [ -f "$file" ]; then variables values "$file"; fi; }

# open_credential NAME: what it holds.
open_credential() {
  if [ -n "$sealed_" ]; then systemd-creds decrypt --name="$1" "$store_$1" - 2>/dev/null; else cat "$store_$1"; fi
}
make_store() { [ -d "${store_%/*}" ] || { (umask 022 && at_=${store_%/*} && mkdir -p "${at_%/*}") && mkdir -m 700 "${store_%/*}"; }; }
# put_credential NAME: its file holds the standard input, encrypted where they are. A TPM takes part if there is one, whatever the
# firmware is; its measurements do not, since they change with updates of the firmware.
put_credential() {
  new=$store_$1.pkgapp-new
  rm -f "$new"
  make_store || return 1
  if [ -n "$sealed_" ]; then
    said_=$(systemd-creds encrypt --name="$1" --with-key=auto --tpm2-pcrs= - "$new" 2>&1) ||
      { rm -f "$new"; say "systemd-creds: $said_" >&2; return 1; }
  else cat >"$new" || { rm -f "$new"; return 1; }; fi
  chmod 600 "$new" && to_disk "$new" && mv -fT "$new" "$store_$1" && to_disk "${store_%/*}"
}
# Of the names that were there when a directory was made, it has the file, or NAME.missing. Others are left as they are.
# place_credentials DIRECTORY: their files are those that were kept there, if any were.
place_credentials() {
  [ -d "$1" ] || return 0
  for each in $credentials; do
    if [ -e "$1/$each.missing" ]; then rm -f "$store_$each"
    elif [ -e "$1/$each" ] && ! cmp -s "$1/$each" "$store_$each"; then
      make_store && cat "$1/$each" >"$store_$each.pkgapp-new" && to_disk "$store_$each.pkgapp-new" &&
        mv -fT "$store_$each.pkgapp-new" "$store_$each" || return 1
    fi
  done
  [ ! -d "${store_%/*}" ] || to_disk "${store_%/*}"
}
# differ_from DIRECTORY: whether their files are others than those that were kept there.
differ_from() {
  [ -d "$1" ] || return 1
  for each in $credentials; do
    if [ -e "$1/$each.missing" ]; then [ ! -e "$store_$each" ] || return 0
    elif [ -e "$1/$each" ]; then cmp -s "$1/$each" "$store_$each" || return 0; fi
  done
  return 1
}
keep_credentials() { # AS
  rm -rf "$secrets/$1.credentials" "$secrets/$1.credentials.new"
  [ -n "$credentials" ] || return 0
  mkdir "$secrets/$1.credentials.new" || return 1
  for each in $credentials; do
    at_=$secrets/$1.credentials.new/$each
    if [ -f "$store_$each" ]; then cat "$store_$each" >"$at_"; else at_=$at_.missing && : >"$at_"; fi && to_disk "$at_" || return 1
  done
  mv -T "$secrets/$1.credentials.new" "$secrets/$1.credentials"
}
# is_as COPY: the file has the content of a kept copy.
is_as() { cmp -s "$1" "$file" || { [ ! -s "$1" ] && [ ! -e "$file" ]; }; }
# drop AS: what was kept there.
drop() { rm -f "$secrets/$1" && rm -rf "$secrets/$1.credentials"; }

# keep AS: a copy of the file and of the others as they are now, or of nothing, for their owner alone.
keep() {
  mkdir -p "$secrets" && keep_credentials "$1" && { [ ! -f "$file" ] || cat "$file"; } >"$secrets/$1.new" && to_disk "$secrets/$1.new" &&
    mv -f "$secrets/$1.new" "$secrets/$1" && to_disk "$secrets"
}
# begin_new: an empty file beside the one that is there, with its owner and mode.
begin_new() {
  new=$file.pkgapp-new
  (umask 022 && mkdir -p "${file%/*}") || return 1
  rm -f "$new"
  if [ -f "$file" ]; then cp -p "$file" "$new" && : >"$new" || return 1
  else
    : >"$new" || return 1
    [ $mode = tarball ] || chmod 640 "$new" || return 1
  fi
  # The group is there from the first installation on. Until then the file is as it will be, but root's alone.
  if [ $mode = package ] && [ -n "$group" ] && [ "$(stat -c '%a %u:%g' "$new")" = '640 0:0' ] && getent group "$group" >/dev/null
  then chown ":$group" "$new"; fi
}
# end_new: the new file takes the place of the other one. Nobody who reads it sees a part of it.
end_new() { to_disk "$new" && mv -fT "$new" "$file" && to_disk "${file%/*}"; }
# place COPY: the file has the content of a kept copy again, and so have the others.
place() {
  place_credentials "$1.credentials" || return 1
  if [ -s "$1" ] || [ -e "$file" ]; then begin_new && cat "$1" >"$new" && end_new; fi
}
# wants_restart [_files]: of what reads the file, or of what reads the others.
# It says when, in microseconds since the boot, so that whatever starts after that is not started again.
wants_restart() { mkdir -p "$secrets" && put_file "$secrets/pending${1-}" "$(now)$newline$(boot_id) $(uptime_us)"; }
uptime_us() { read -r up_ _ </proc/uptime && say "$up_" | sed 's/\.\(..\)$/\10000/'; }
