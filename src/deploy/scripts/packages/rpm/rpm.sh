# rpm alone: all is in common.sh.
