case $1 in configure | abort-*) ;; *) exit 0 ;; esac
[ -d /run/systemd/system ] || exit 0
if [ "$(systemctl show -p NeedDaemonReload --value redis-server.service)" = yes ]; then
  systemctl daemon-reload
  systemctl restart redis-server.service
elif ! systemctl --quiet is-active redis-server.service; then
  systemctl start redis-server.service
fi
