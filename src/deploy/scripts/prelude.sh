# What every script of a push begins with: where things lie, and the lock. POSIX sh and what every distribution has. What sh
# does by itself is not given to a program: starting one costs a host more than the work.
# Arguments: the directory of the application's state, the token of this push; the script's own come after them.
set -u
umask 022
LC_ALL=C PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
export LC_ALL PATH
state=$1 token=$2
shift 2

# Seconds after which a lock without a sign of life is free.
lease=60

say() { printf '%s\n' "$*"; }
has() { command -v "$1" >/dev/null 2>&1; }
newline='
'
fact() {
  case $2 in
    *"$newline"*) printf '%s=%s\n' "$1" "$(printf %s "$2" | tr '\n' ' ')" ;;
    *) printf '%s=%s\n' "$1" "$2" ;;
  esac
}
fail() { fail_with 1 "$*"; }
fail_with() { status_=$1; shift; printf '%s\n' "$*" >&2; exit "$status_"; }
uptime_s() { read -r up_ _ </proc/uptime && say "${up_%%.*}"; }
first_line() { [ -f "$1" ] && { IFS= read -r line_ || [ -n "$line_" ]; } <"$1" && say "$line_"; } # of FILE, if it is there
boot_id() { first_line /proc/sys/kernel/random/boot_id; }
sha256_of() { set -- "$(sha256sum <"$1")" && say "${1%% *}"; } # FILE
now() { date -u +%Y-%m-%dT%H:%M:%SZ; }

# value FILE KEY: the text after `KEY=`.
value() {
  [ -f "$1" ] || return 1
  while IFS= read -r line_ || [ -n "$line_" ]; do
    case $line_ in "$2="*) say "${line_#*=}"; return ;; esac
  done <"$1"
}

# After a loss of power a file that was not synced may be there without its content, and a name may be missing: what the next
# step or the next push relies on is written by these. Programs that cannot sync single files sync everything.
to_disk() { sync "$@" 2>/dev/null || sync; } # FILE...
# put_file FILE TEXT: FILE has all of TEXT, a line at least, and is on the disk; or it is what it was.
put_file() {
  if printf '%s\n' "$2" >"$1.new" && to_disk "$1.new" && mv -f "$1.new" "$1"; then to_disk "${1%/*}"
  else
    rm -f "$1.new"
    return 1
  fi
}
# The transaction that was begun last: a push that is cut off while it puts another in its place leaves the last one beside it.
last_transaction() {
  if [ ! -d "$state/transaction" ] && [ -d "$state/transaction.old" ]; then say "$state/transaction.old"
  else say "$state/transaction"; fi
}
# How the transaction in DIRECTORY ended; nothing if it did not, or if nothing readable says how.
result_in() {
  case $(value "$1/result" result) in
    done) say done ;;
    restored) say restored ;;
    refused) say refused ;;
    failed) say failed ;;
  esac
}
whole_lines() { grep -a '^{.*}$' "$1"; } # of FILE, a history
is_number() { case $1 in '' | *[!0-9]*) return 1 ;; esac; }

# The lock is a file that names its holder and the last sign of life by the kernel's clock, which nobody sets. Readers and
# writers of it take turns by flock(1).
in_turn() {
  [ -d "$state" ] || mkdir -p "$state" || return 1
  (flock 9 && "$@") 9>"$state/mutex"
}
lock_alive() {
  [ -f "$state/lock" ] && [ "$(value "$state/lock" boot)" = "$(boot_id)" ] && beat_=$(value "$state/lock" beat) &&
    is_number "$beat_" && [ $(($(uptime_s) - beat_)) -le $lease ]
}
# It is not synced: after a loss of power the kernel has another boot id, and nobody holds it.
write_lock() { # OWNER SINCE
  if printf 'token=%s\nowner=%s\nsince=%s\nboot=%s\nbeat=%s\n' "$token" "$1" "$2" "$(boot_id)" "$(uptime_s)" >"$state/lock.new"; then
    mv -f "$state/lock.new" "$state/lock"
  else
    rm -f "$state/lock.new"
    return 1
  fi
}
drop_lock() { if [ "$(value "$state/lock" token)" = "$token" ]; then rm -f "$state/lock"; fi; }
beat_lock() {
  if [ "$(value "$state/lock" token)" != "$token" ]; then
    fail "this push no longer holds the lock of $state; $(value "$state/lock" owner) does"
  fi
  write_lock "$(value "$state/lock" owner)" "$(value "$state/lock" since)"
}
# Nothing is changed by a push that lost its lock.
hold_lock() { in_turn beat_lock || exit 76; }

# runs DIRECTORY: something that was started there goes on. It keeps `running` locked for as long as it lives. Those who ask
# share, so that they don't take each other for it.
runs() { [ -e "$1/running" ] && ! flock -n -s "$1/running" true; }
