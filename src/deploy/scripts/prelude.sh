# What every script of a push begins with: where things lie, and the lock. POSIX sh and what every distribution has. What sh
# does by itself is not given to a program: starting one costs a host more than the work.
# Before it stand the numbers that pkgapp shares with scripts (shared_numbers in script.rs), and before these, as assignments,
# the parameters of every script:
#   state   the directory of the application's state
#   token   the token of this push
# and those that the script names itself. Its arguments are a list, or none.
set -u
# What lies in the state is nobody else's to read. Scripts that run or unpack what is not ours, or write what others read, say so.
umask 077
LC_ALL=C PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
export LC_ALL PATH

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
# described INFO: whether the description of a package has all of its lines; of a file that was cut off, the rest is missing.
described() {
  [ -n "$(value "$1" version)" ] && [ -n "$(value "$1" release)" ] && grep -q '^record=' "$1" && [ -z "$(tail -c 1 "$1")" ]
}
# The transaction that was begun last: a push that is cut off while it puts another in its place leaves the last one beside it.
last_transaction() {
  if [ ! -d "$state/transaction" ] && [ -d "$state/transaction.old" ]; then say "$state/transaction.old"
  else say "$state/transaction"; fi
}
# How the transaction in DIRECTORY ended; nothing if it did not, or if nothing readable says how.
result_in() {
  case $(value "$1/result" result) in
    done) say 'done' ;;
    restored) say restored ;;
    unconfirmed) say unconfirmed ;;
    refused) say refused ;;
    failed) say failed ;;
  esac
}
# parameter_of DIRECTORY NAME: what the transaction there was told, of values without a quote.
parameter_of() { value "$1/parameters" "$2" | tr -d "'"; }
# The phase of the transaction in DIRECTORY: nothing until its release works, then `probation`, which ends as `confirmed`, as
# `expired`, or as `reverting` if the release is to blame.
phase_in() { first_line "$1/phase" || :; }
whole_lines() { grep -a '^{.*}$' "$1"; } # of FILE, a history
# add_to_history LINE: the history is written anew each time, so that a line that a loss of power has cut off goes.
add_to_history() {
  { [ ! -s "$state/history.jsonl" ] || whole_lines "$state/history.jsonl" || [ $? = 1 ]; } >"$state/history.jsonl.new" &&
    printf '%s\n' "$1" >>"$state/history.jsonl.new" && to_disk "$state/history.jsonl.new" &&
    mv -f "$state/history.jsonl.new" "$state/history.jsonl" && return
  rm -f "$state/history.jsonl.new"
  return 1
}
# take_return DIRECTORY: a transaction that another push has started has returned to the previous release, which no push has seen.
take_return() {
  [ -s "$1/returned" ] && [ "$(parameter_of "$1" token)" != "$token" ] || return 0
  add_to_history "$(first_line "$1/returned")" && rm -f "$1/returned"
}
is_number() { case $1 in '' | *[!0-9]*) return 1 ;; esac; }

# The state is private. Who could read it could hold its locks, and who owned it or could write to it would be obeyed by pushes:
# by root, where packages are installed. As sshd does with keys, such state is refused.
# judge_state: sets `why_` to why it cannot be trusted, or to nothing, and `open_` if others can only read it.
judge_state() {
  why_='' open_=''
  for each_ in $guarded; do
    if [ -e "$each_" ] && [ ! -O "$each_" ]; then
      why_="\`$each_\` belongs to \`$(stat -L -c %U "$each_")\`, not to \`$(id -un)\`"
    fi
  done
  # shellcheck disable=SC2046,SC2086  # plain paths
  set -- $(stat -L -c '%a %n' $guarded 2>/dev/null)
  while [ $# -ge 2 ]; do
    case $1 in
      *[2367] | *[2367]?) why_="\`$2\` can be written by others than \`$(id -un)\` (mode $1)" ;;
      *00) ;;
      *) open_=yes ;;
    esac
    shift 2
  done
}
# in_state EXPRESSION...: find(1) in the state, without a release's own files, whose modes are as they were shipped.
in_state() {
  find "$state" \( -path "$state/packages/*/host*" -o -path "$state/shipped" -o -path "$state/staged" -o -path "$state/unpacking" \) \
    -prune -o "$@"
}
# judge_files: the same as `judge_state` for all that lies in it.
judge_files() {
  why_=$(in_state \( ! -user "$(id -u)" -o ! -type l -perm /022 \) -print -quit)
  [ -z "$why_" ] || why_="\`$why_\` belongs to others than \`$(id -un)\`, or they can write to it"
}
refuse_state() {
  fail "cannot trust what earlier pushes have left: $why_. Look at what lies there, then make it private with" \
    "\`chown -R $(id -un): $state; chmod -R go= $guarded\`, or remove it."
}
close_files() { in_state ! -type l -perm /077 -exec chmod go= {} +; }
# Closes what earlier versions have left open to readers. Who had opened a file there may hold a lock on it for ever, so locks are
# taken on new files from then on.
close_state() {
  judge_files
  [ -z "$why_" ] || refuse_state
  # shellcheck disable=SC2086
  chmod 700 $guarded && close_files || fail "cannot make \`$state\` private"
  rm -f "$state/mutex" "$state/turn"
  if [ -e "$state/transaction/running" ] && ! works_on "$state/transaction"; then
    rm -f "$state/transaction/running"
    : >"$state/transaction/running"
  fi
}
# works_on DIRECTORY: a process of ours runs its script.
works_on() {
  for process_ in $(grep -alsxz "$1/[r]un" /proc/[0-9]*/cmdline); do
    if [ -O "$process_" ]; then return 0; fi
  done
  return 1
}
private_state() {
  for each_ in $guarded; do
    [ -d "$each_" ] || { (umask 022 && mkdir -p "${each_%/*}") && mkdir "$each_"; } || [ -d "$each_" ] || return 1
  done
  judge_state
  [ -z "$why_" ] || refuse_state
  [ -z "$open_" ] || close_state
}
# closed_to_us: says which directory of the state this login may not look into; fails if there is none.
closed_to_us() {
  for each_ in $guarded; do
    if [ -d "$each_" ] && ! { [ -r "$each_" ] && [ -x "$each_" ]; }; then say "$each_"; return; fi
  done
  return 1
}

# The lock is a file that names its holder and the last sign of life by the kernel's clock, which nobody sets. Readers and
# writers of it take turns by flock(1), which takes no longer than they do.
in_turn() {
  private_state || return 1
  (flock -w 30 9 || exit 74; "$@") 9>"$state/turn"
  status_=$?
  [ $status_ != 74 ] || fail "another process has held the lock on \`$state/turn\` for 30 s: \`fuser -v $state/turn\` tells which"
  return $status_
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
# in_probation_with DIRECTORY SUM: the transaction there has brought this package and awaits its confirmation.
in_probation_with() { [ -n "$2" ] && [ "$(phase_in "$1")" = probation ] && [ "$(parameter_of "$1" sum)" = "$2" ]; }
# await DIRECTORY [SUM]: until what was started there has ended, or is in probation with this package.
await() {
  since_=$(uptime_s)
  while runs "$1" && ! in_probation_with "$1" "${2-}"; do
    [ $(($(uptime_s) - since_)) -lt 3600 ] ||
      fail "what an earlier push has started in \`$1\` has not ended after an hour: \`fuser -v $1/running\` tells what it is"
    sleep 0.5
    hold_lock
  done
}

# keep_log FILE KIND: for those who ask later what a transaction did. Programs print what is secret, too.
keep_log() {
  [ -s "$1" ] || return 0
  mkdir -p "$state/logs" && chmod 600 "$1" && mv "$1" "$state/logs/$(date -u -r "$1" +%Y-%m-%dT%H:%M:%S.%3NZ)-$2.log"
}
