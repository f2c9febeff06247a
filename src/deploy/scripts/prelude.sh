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
fail() { printf '%s\n' "$*" >&2; exit 1; }
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

# The lock is a file that names its holder and the last sign of life by the kernel's clock, which nobody sets. Readers and
# writers of it take turns by flock(1).
in_turn() {
  [ -d "$state" ] || mkdir -p "$state" || return 1
  (flock 9 && "$@") 9>"$state/mutex"
}
lock_alive() {
  [ -f "$state/lock" ] && [ "$(value "$state/lock" boot)" = "$(boot_id)" ] &&
    [ $(($(uptime_s) - $(value "$state/lock" beat))) -le $lease ]
}
write_lock() { # OWNER SINCE
  printf 'token=%s\nowner=%s\nsince=%s\nboot=%s\nbeat=%s\n' "$token" "$1" "$2" "$(boot_id)" "$(uptime_s)" >"$state/lock.new" &&
    mv -f "$state/lock.new" "$state/lock"
}
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
