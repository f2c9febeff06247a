# dpkg alone: all is in common.sh.
