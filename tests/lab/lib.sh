# shellcheck shell=bash
# lib.sh: the functions that the bash suites in tests/lab share. A suite sources it, states its needs, and runs its checks:
#
#   set -euo pipefail
#   source "$(dirname "$(realpath "$0")")/lib.sh"
#   needs_hosts                       # or needs_root, needs_command; skips the suite without them
#   use_pkgapp "${1-}"                # sets $pkgapp
#   make_work_directory               # sets $work; removed at exit
#   hosts=(push-a-$$ push-b-$$)       # taken down at exit
#   start_hosts deb "${hosts[@]}"
#   check "a file arrives" on "${hosts[0]}" test -e /root/file
#   finish                            # prints `N passed, N failed` and exits
#
# Every suite takes these variables:
#   LAB_DIR                   where hosts and their images are kept (default: /var/tmp/pkgapp-lab)
#   PKGAPP_REQUIRE_TOOLS=1    a missing tool, or not being root, is a failure instead of a skip
#   KEEP=1                    leave the hosts up and the work directory in place
#   LAB_PACKAGES              where downloaded packages of the distribution are kept (default: /var/tmp/pkgapp-lab-packages)
#
# Suites find here: $suite (its name), $here (tests/lab), $root (the clone), $hosts, $work, $pkgapp, $passed, $failed.

suite=$(basename "$0") here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
# shellcheck disable=SC2034 # used by suites
root=$(realpath "$here/../..")
export LAB_DIR=${LAB_DIR:-/var/tmp/pkgapp-lab}
passed=0 failed=0 hosts=() exit_functions=() closing_line=

# --- needs and skips --------------------------------------------------------------------------------------------------

# die MESSAGE: ends the suite with exit code 1.
die() { echo "$suite: $1" >&2; exit 1; }

# skip REASON: ends the suite, loudly and with exit code 0; with PKGAPP_REQUIRE_TOOLS=1, with exit code 1.
skip() {
  [ "${PKGAPP_REQUIRE_TOOLS-}" != 1 ] || die "$1, and PKGAPP_REQUIRE_TOOLS=1 forbids skipping"
  skip_always "$1"
}

# skip_always REASON: the same for a need that no package manager can meet: never a failure.
skip_always() { printf '\n*** SKIPPED: %s: %s ***\n\n' "$suite" "$1" >&2; exit 0; }

# skip_part PART REASON: goes on without a part of the suite; with PKGAPP_REQUIRE_TOOLS=1, ends it with exit code 1.
skip_part() {
  [ "${PKGAPP_REQUIRE_TOOLS-}" != 1 ] || die "$1: $2, and PKGAPP_REQUIRE_TOOLS=1 forbids skipping"
  printf '\n*** SKIPPED: %s: %s: %s ***\n\n' "$suite" "$1" "$2" >&2
}

# needs_root [REASON]: skips the suite unless it runs as root.
needs_root() { [ "$(id -u)" = 0 ] || skip "${1:-it needs root}"; }

# needs_hosts: skips the suite unless this machine can start hosts.
needs_hosts() {
  needs_root "it starts hosts, which needs root"
  mount -t cgroup2 | grep -q . || skip "it starts hosts, which needs a cgroup2 mount"
}

# needs_command PROGRAM: skips the suite unless PROGRAM is installed.
needs_command() { command -v "$1" >/dev/null || skip "$1 is not installed"; }

# use_pkgapp [PATH]: sets $pkgapp, the binary under test; by default the release build of this clone.
use_pkgapp() {
  pkgapp=$(realpath -m "${1:-${CARGO_TARGET_DIR:-$root/target}/release/pkgapp}")
  [ -x "$pkgapp" ] || die "there is no $pkgapp; run \`make build\`"
}

# use_seed [DEFAULT]: sets $seed from PKGAPP_SEED, else to DEFAULT or a random number, and prints it.
use_seed() {
  seed=${PKGAPP_SEED:-${1:-$RANDOM}}
  echo "PKGAPP_SEED=$seed"
}

# --- work directory and exit ------------------------------------------------------------------------------------------

# make_work_directory [PARENT]: sets $work to a new directory, which is removed when the suite exits.
make_work_directory() {
  work=$(mktemp -d ${1:+-p "$1"})
  trap cleanup EXIT
}

# at_exit FUNCTION: runs FUNCTION when the suite exits, even with KEEP=1.
at_exit() { exit_functions+=("$1"); }

# hosts_up: prints the names in $hosts that are up.
hosts_up() { [ ${#hosts[@]} = 0 ] || "$here/lab" list | cut -d' ' -f1 | grep -xF -- "$(printf '%s\n' "${hosts[@]}")" || :; }

# cleanup: the exit trap. Takes the hosts down and removes the work directory; with KEEP=1, says where they are instead.
cleanup() {
  local each up
  for each in "${exit_functions[@]}"; do "$each" || :; done
  mapfile -t up < <(hosts_up)
  if [ "${KEEP-}" = 1 ]; then
    echo "kept the work directory: $work"
    [ ${#up[@]} = 0 ] || printf '%s\n' "kept the hosts: ${up[*]}" \
      "  look inside one:  LAB_DIR=$LAB_DIR $here/lab exec ${up[0]} bash" \
      "  take them down:   LAB_DIR=$LAB_DIR $here/lab down ${up[*]}"
  else
    [ ${#up[@]} = 0 ] || "$here/lab" down "${up[@]}"
    rm -rf "$work"
  fi
  [ -z "$closing_line" ] || echo "$closing_line"
}

# finish: exits, with 1 if a check has failed. The closing line is the last one, after what `cleanup` prints.
finish() {
  closing_line="$passed passed, $failed failed"
  exit $((failed > 0))
}

# --- hosts ------------------------------------------------------------------------------------------------------------

# start_hosts KIND HOST...: makes the hosts' image unless it is made, starts hosts with apt (deb) or dnf (rpm), and prints a
# line for each when it answers. List them in $hosts first.
start_hosts() {
  "$here/lab" build >"$work/lab.log" 2>&1 || { tail -n 20 "$work/lab.log" >&2; return 1; }
  "$here/lab" up "${@:2}" --kind "$1"
}

# on HOST CMD...: runs CMD on HOST as root, without ssh.
on() { "$here/lab" exec "$@"; }

# copy HOST FILE PATH: copies FILE to PATH on HOST.
copy() { on "$1" sh -c "cat >$(printf %q "$3")" <"$2"; }

# wait_for SECONDS CMD...: repeats CMD until it succeeds; fails when the time is over.
wait_for() {
  local end=$((SECONDS + $1))
  # Whoever enters a host that is going down may wait forever.
  local -x LAB_TIMEOUT=${LAB_TIMEOUT:-8}
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.2
  done
}

# --- the distribution's nginx ------------------------------------------------------------------------------------------

# fetch_nginx: downloads Debian's nginx into $packages, where it stays for the next suite; skips the suite if that fails.
fetch_nginx() {
  local name
  packages=${LAB_PACKAGES:-/var/tmp/pkgapp-lab-packages}
  mkdir -p "$packages"
  for name in nginx nginx-common; do
    if ! compgen -G "$packages/${name}_*.deb" >/dev/null; then
      (cd "$packages" && apt-get download -qq "$name") >"$work/download" 2>&1 ||
        skip "apt-get cannot download $name: $(tail -n1 "$work/download")"
    fi
  done
}

# make_nginx_rpm: makes $nginx_rpm of the same files, with the configuration and the user that Red Hat's has. Needs rpmbuild.
make_nginx_rpm() {
  local tree=$work/nginx-tree name
  mkdir "$tree"
  for name in nginx nginx-common; do dpkg-deb -x "$packages/${name}"_*.deb "$tree"; done
  rm -rf "$tree"/etc/nginx/sites-* "$tree"/etc/{init.d,default,ufw,logrotate.d} "${tree:?}/usr/share"
  mkdir -p "$tree/usr/lib/systemd/system"
  mv "$tree/lib/systemd/system/nginx.service" "$tree/usr/lib/systemd/system"
  rm -rf "${tree:?}/lib"
  sed -i -e 's/^user .*/user nginx;/' -e '/sites-enabled/d' "$tree/etc/nginx/nginx.conf"
  cat >"$work/nginx.spec" <<END
Name: nginx
Version: 1.22.1
Release: 1
Summary: nginx as Red Hat lays it out
License: BSD-2-Clause
AutoReqProv: no
%description
For tests.
%pre
getent passwd nginx >/dev/null || useradd -r -s /sbin/nologin nginx
%install
cp -a $tree/. %{buildroot}
%post
mkdir -p /var/lib/nginx /var/log/nginx
systemctl daemon-reload
systemctl start nginx
%files
/etc/nginx
/usr/sbin/nginx
/usr/lib/systemd/system/nginx.service
END
  rpmbuild -bb --define "_topdir $work/rpmbuild" --define '__strip /bin/true' --define '_build_id_links none' \
    "$work/nginx.spec" >"$work/rpmbuild.log" 2>&1 || { tail "$work/rpmbuild.log" >&2; return 1; }
  nginx_rpm=$(echo "$work"/rpmbuild/RPMS/*/nginx-*.rpm)
}

# add_nginx KIND HOST: installs nginx on a host with apt (deb) or dnf (rpm).
add_nginx() {
  local name
  if [ "$1" = rpm ]; then
    copy "$2" "$nginx_rpm" /root/nginx.rpm
    on "$2" rpm --force-debian -U /root/nginx.rpm
    return
  fi
  for name in nginx nginx-common; do copy "$2" "$(echo "$packages/${name}"_*.deb)" "/root/$name.deb"; done
  on "$2" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 --no-install-recommends \
    install -y /root/nginx.deb /root/nginx-common.deb
}

# install_packages HOST NAME...: installs packages of Debian with apt. They and their dependencies are downloaded here, since
# hosts reach no mirror, and stay in $LAB_PACKAGES for the next run; skips the suite if that fails.
install_packages() {
  local host=$1 cache=${LAB_PACKAGES:-/var/tmp/pkgapp-lab-packages} options file files=()
  shift
  mkdir -p "$cache/partial"
  on "$host" cat /var/lib/dpkg/status >"$work/status"
  options=(-y --no-install-recommends -o "Dir::State::status=$work/status" -o "Dir::Cache::archives=$cache" -o Debug::NoLocking=1)
  apt-get -qq --download-only "${options[@]}" install "$@" >"$work/download" 2>&1 ||
    skip "apt-get cannot download $*: $(tail -n1 "$work/download")"
  # `Inst caddy (2.6.2-5 Debian:12/stable [amd64])`; a file's name has no colon.
  apt-get --simulate "${options[@]}" install "$@" | sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*\[\([a-z0-9]*\)\].*/\1_\2_\3.deb/p' |
    sed 's/:/%3a/g' >"$work/files"
  while read -r file; do
    copy "$host" "$cache/$file" "/root/$file"
    files+=("/root/$file")
  done <"$work/files"
  on "$host" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold \
    --no-install-recommends install -y "${files[@]}"
}

# under_load HOST NAME PATH PAUSE CMD...: runs CMD while 8 clients ask HOST for http://NAME/PATH, and fails if a request was lost.
# Their figures are in $work/figures; see client.py. $answer, if set, must be in all answers.
under_load() {
  local host=$1 name=$2 path=$3 pause=$4 loader
  shift 4
  copy "$host" "$here/client.py" /root/client.py
  on "$host" rm -f /root/stop
  LAB_TIMEOUT=120 on "$host" python3 /root/client.py "$name" "$path" 8 "$pause" "${answer-}" >"$work/figures" 2>&1 &
  loader=$!
  sleep 1
  "$@" || { echo "\`$*\` failed"; on "$host" touch /root/stop; wait $loader; return 1; }
  sleep 1
  on "$host" touch /root/stop
  wait $loader
  cat "$work/figures"
  grep -q ' lost 0 ' "$work/figures"
}

# --- checks -----------------------------------------------------------------------------------------------------------

# pass TITLE: counts and prints a check that passed.
pass() { passed=$((passed + 1)); echo "ok $1"; }

# fail TITLE: counts and prints a check that failed, with the end of $work/output, free of control characters.
fail() {
  failed=$((failed + 1))
  echo "not ok $1"
  tail -n 40 "$work/output" | tr -d '\000-\010\013-\037\177' | sed 's/^/    /'
}

# check TITLE CMD...: passes if CMD succeeds. Prints the output of CMD, which is in $work/output, only if it fails.
check() {
  if "${@:2}" >"$work/output" 2>&1; then pass "$1"; else fail "$1"; fi
}

# fails CMD...: succeeds if CMD does not.
fails() { if "$@"; then echo "\`$*\` succeeded"; return 1; fi; }

# prints EXPECTED CMD...: CMD succeeds and prints exactly EXPECTED on standard output. Its errors are in $work/errors.
prints() {
  local expected=$1 printed
  shift
  printed=$("$@" 2>"$work/errors") || { cat "$work/errors"; echo "$printed"; echo "\`$*\` failed"; return 1; }
  [ "$printed" = "$expected" ] ||
    { diff <(echo "$expected") <(echo "$printed") | sed '1d; s/^</expected:/; s/^>/printed: /'; return 1; }
}

# quiet CMD...: CMD succeeds and prints nothing.
quiet() {
  local printed
  printed=$("$@" 2>&1) || { echo "$printed"; return 1; }
  [ -z "$printed" ] || { echo "$printed"; return 1; }
}

# has TEXT CMD...: CMD succeeds and prints TEXT somewhere.
has() { ends 0 "$@"; }

# ends CODE TEXT CMD...: CMD exits with CODE and prints TEXT somewhere.
ends() {
  local expected=$1 text=$2 printed code=0
  shift 2
  printed=$("$@" 2>&1) || code=$?
  [ $code = "$expected" ] || { echo "$printed"; echo "\`$*\`: exit code $code, expected $expected"; return 1; }
  [[ $printed == *"$text"* ]] || { echo "$printed"; echo "\`$text\` is not in the output of \`$*\`"; return 1; }
}

# --- pkgapp and its projects ------------------------------------------------------------------------------------------

# use_lab_ssh [SECONDS]: lets pkgapp reach the hosts, keep its state in the work directory, and give up on a host that does
# not answer within SECONDS (default: 3).
use_lab_ssh() {
  export XDG_STATE_HOME=$work/state PKGAPP_SSH_CONFIG=$LAB_DIR/ssh_config PKGAPP_CONNECT_TIMEOUT=${1:-3}
}

# copy_hello PROJECT VERSION: copies fixtures/hello to $work/PROJECT, as VERSION.
copy_hello() {
  cp -r "$root/fixtures/hello" "$work/$1"
  sed -i "s/^version = \"1.0.0\"/version = \"$2\"/" "$work/$1/pyproject.toml"
}

# app PROJECT ARG...: runs pkgapp in $work/PROJECT; $time_limit, if set, ends it after so many seconds.
app() { (cd "$work/$1" && shift && ${time_limit:+timeout "$time_limit"} "$pkgapp" "$@"); }

# exits CODE PROJECT ARG...: pkgapp exits with CODE in $work/PROJECT. Its output stays in $work/printed.
exits() {
  local expected=$1 code=0
  shift
  app "$@" >"$work/printed" 2>&1 || code=$?
  cat "$work/printed"
  [ $code = "$expected" ] || { echo "exit code $code, expected $expected"; return 1; }
}

# says TEXT: the last `exits` has printed TEXT.
says() { grep -qF -- "$1" "$work/printed" || { cat "$work/printed"; echo "\`$1\` is not in the output"; return 1; }; }

# plan_steps PROJECT: prints the steps that `push lab` plans for its first host, a line each.
plan_steps() {
  # A plan that is not empty ends with 4.
  { app "$1" push lab --dry-run --json 2>/dev/null || [ $? = 4 ]; } | tail -n1 | python3 -c '
import json, sys
host = json.load(sys.stdin)["hosts"][0]
for part in ("prepare", "migrate", "switch", "unlock"):
    for step in host[part]:
        print(step["what"])'
}

# interrupt PROJECT DEPLOYMENT HOST STEP CMD...: starts a push, runs CMD PID when HOST begins STEP, and waits for the push to
# end. Sets $code to its exit code; its output is in $work/cut.
interrupt() {
  local project=$1 deployment=$2 host=$3 step=$4 pid end=$((SECONDS + 60))
  shift 4
  : >"$work/cut" # What the last one has printed is not waited for.
  (cd "$work/$project" && exec "$pkgapp" push "$deployment" --allow-downgrade --reconnect 30) >"$work/cut" 2>&1 &
  pid=$!
  until grep -qF "$host: $step" "$work/cut"; do
    if [ $SECONDS -ge $end ] || ! kill -0 "$pid" 2>/dev/null; then
      cat "$work/cut"; echo "the push did not reach: $step"; return 1
    fi
    sleep 0.01
  done
  "$@" "$pid"
  code=0
  wait "$pid" 2>/dev/null || code=$?
}

# killed PID: kills a process without warning.
killed() { kill -9 "$1"; }
