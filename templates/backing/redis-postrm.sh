[ "$1" = remove ] && [ -d /run/systemd/system ] || exit 0
if [ "$(systemctl show -p NeedDaemonReload --value redis-server.service)" = yes ]; then
  systemctl daemon-reload
  systemctl try-restart redis-server.service
fi
