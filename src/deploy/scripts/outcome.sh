# How a transaction has ended, for who waits for it.
dir=$state/transaction unit=pkgapp-transaction-$name
result() { result_in "$dir"; }
# What the log has got since the last time. It is foreign text, and standard output is for what is told of the result alone.
shown=0
show() {
  size=$(stat -c %s "$dir/log")
  [ "$size" -gt "$shown" ] || return 0
  tail -c "+$((shown + 1))" "$dir/log" | head -c $((size - shown)) >&2
  shown=$size
}
tell_result() {
  show
  grep . "$dir/result" | sed 's/^/pkgapp:/'
  case $(result) in
    done) exit 0 ;;
    restored) exit "$exit_restored" ;;
    refused) exit "$exit_refused" ;;
    *) exit "$exit_failed" ;;
  esac
}
