#!/bin/sh
# The guest's disk, as files: GET gives one, POST writes one and answers when it is on the disk. `?name` names it. GET without a
# name gives the bytes that the disk has by now.
# Nothing is mounted until somebody asks: it would cost every boot some ten milliseconds.
say() { printf 'Status: %s\r\nContent-Type: text/plain\r\n\r\n' "$1"; }

if ! grep -q ' /disk ' /proc/mounts; then
  for disk in /sys/block/vd*; do
    # One that cannot be written to is a seed disk.
    read -r only 2> /dev/null < "$disk/ro" && [ "$only" = 0 ] && break
    disk=none
  done
  disk=/dev/${disk##*/}
  [ -b "$disk" ] || { say '404 Not Found'; echo 'this guest has no disk'; exit 0; }
  mkdir -p /disk
  mount -t ext4 "$disk" /disk 2> /dev/null || { mke2fs -q "$disk" > /dev/null && mount -t ext4 "$disk" /disk; } ||
    { say '500 Internal Server Error'; echo 'the disk cannot be mounted'; exit 0; }
fi
if [ -z "$QUERY_STRING" ]; then
  while read -r disk where _; do [ "$where" = /disk ] && break; done < /proc/mounts
  read -r sectors < "/sys/block/${disk##*/}/size"
  say '200 OK'; echo "$((sectors * 512))"; exit 0
fi
case $QUERY_STRING in
  *[!a-z0-9.-]* | .*) say '400 Bad Request'; echo 'name a file: a-z, 0-9, dots and dashes'; exit 0 ;;
esac
if [ "$REQUEST_METHOD" = POST ]; then
  # Twice: without a journal the first one writes the inode after its flush, and leaves it in the cache of a disk that has one.
  head -c "${CONTENT_LENGTH:-0}" > "/disk/$QUERY_STRING" && sync && sync && say '200 OK' && echo written
elif [ -f "/disk/$QUERY_STRING" ]; then
  say '200 OK'
  cat "/disk/$QUERY_STRING"
else
  say '404 Not Found'
fi
