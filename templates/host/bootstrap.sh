# Prepares a host, as root. Arguments: the user, `dry` or `do`, the keys to authorise (one a line), packages.
# What is not as it should be is told on a line that begins with `+ `, and put right unless it is `dry`.
set -eu
user=$1 mode=$2 keys=$3 packages=$4
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

# change WHAT CMD...
change() {
  echo "+ $1"
  shift
  [ "$mode" = dry ] || "$@" >&2
}

# --- packages: those asked for, and sudo -----------------------------------------------------------------------------
if command -v apt-get >/dev/null && [ -e /var/lib/dpkg/status ]; then
  # shellcheck disable=SC2016  # dpkg expands it
  installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
  install() {
    export DEBIAN_FRONTEND=noninteractive
    set -- -o DPkg::Lock::Timeout=120 -y --no-install-recommends "$@"
    # The lists may be old, or were never fetched.
    apt-get -q install "$@" || { apt-get -q update && apt-get -q install "$@"; }
  }
else
  installed() { rpm -q --whatprovides "$1" >/dev/null 2>&1; }
  install() {
    if command -v dnf >/dev/null; then dnf -y install "$@"
    elif command -v yum >/dev/null; then yum -y install "$@"
    else zypper --non-interactive install "$@"
    fi
  }
fi
command -v sudo >/dev/null || packages="sudo $packages"
for package in $packages; do
  installed "$package" || change "install the package $package" install "$package"
done

# --- the user --------------------------------------------------------------------------------------------------------
make_user() {
  shell=/bin/bash
  [ -x "$shell" ] || shell=/bin/sh
  # No password fits `*`, but the account is not locked: sshd refuses locked ones.
  useradd --create-home --user-group --shell "$shell" --password '*' -- "$user"
}
getent passwd "$user" >/dev/null || change "make the user $user" make_user

# --- keys ------------------------------------------------------------------------------------------------------------
# As the user, who could have put a link where root would write.
# shellcheck disable=SC2016  # the user's shell expands it
has_key='core=$(cat); [ -e ~/.ssh/authorized_keys ] && grep -qF -- "$core" ~/.ssh/authorized_keys'
# shellcheck disable=SC2016
add_key='umask 077; mkdir -p ~/.ssh; cd ~/.ssh; new=$(mktemp -p .)
  { if [ -e authorized_keys ]; then cat authorized_keys; fi; cat; } >"$new"; chmod 600 "$new"; mv -f "$new" authorized_keys
  if command -v restorecon >/dev/null; then restorecon -R ~/.ssh; fi'
as_user() { su -s /bin/sh "$user" -c "cd; $1"; }
authorise() { printf '%s\n' "$key" | as_user "set -e; $add_key"; }
printf '%s\n' "$keys" | while IFS= read -r key; do
  [ -n "$key" ] || continue
  # The kind and the key itself, without the comment.
  core=$(printf '%s\n' "$key" | cut -d' ' -f1,2)
  if getent passwd "$user" >/dev/null && printf %s "$core" | as_user "$has_key"; then continue; fi
  change "authorise the key $(printf '%s\n' "$key" | cut -d' ' -f3-)" authorise
done

# --- sudo ------------------------------------------------------------------------------------------------------------
sudoers=/etc/sudoers.d/pkgapp-$user
rule="# Made by pkgapp bootstrap: pkgapp logs in as $user and installs packages.
$user ALL=(ALL:ALL) NOPASSWD: ALL"
allow() {
  # sudo reads no file with a dot in its name, as that of mktemp has.
  new=$(mktemp -p /etc/sudoers.d)
  printf '%s\n' "$rule" >"$new"
  chmod 0440 "$new"
  visudo -c -q -f "$new" || { rm -f "$new"; echo "visudo refuses the rule for $user" >&2; return 1; }
  mv -f "$new" "$sudoers"
  if command -v restorecon >/dev/null; then restorecon "$sudoers"; fi
}
if [ "$(cat "$sudoers" 2>/dev/null)" != "$rule" ] || [ "$(stat -c %a "$sudoers")" != 440 ]; then
  change "let $user use sudo without a password ($sudoers)" allow
fi
if [ "$mode" != dry ] && ! su -s /bin/sh "$user" -c 'sudo -k -n -- /bin/sh -c :'; then
  echo "$user still may not use sudo: does /etc/sudoers include /etc/sudoers.d?" >&2
  exit 1
fi

# --- pkgapp's directory ----------------------------------------------------------------------------------------------
state=/var/lib/pkgapp
if [ ! -d $state ]; then change "make the directory $state" mkdir -m 0700 $state
elif [ "$(stat -L -c %a $state)" != 700 ]; then change "make the directory $state private" chmod 0700 $state
fi
