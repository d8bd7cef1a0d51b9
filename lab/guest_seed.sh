#!/bin/sh
# What the seed disk says, as far as a guest of the lab goes: cloud-init's NoCloud files are read (`read`), and what they want
# done is done (`run`). /run/seed/info is what the guest's page says of it, one line of JSON.
here=/run/seed

# The lines of a file as strings of a JSON list.
list() { [ -f "$1" ] && sed 's/[\\"]/\\&/g; s/[[:cntrl:]]//g; s/.*/"&"/' "$1" | paste -s -d, -; }
one() { [ -f "$1" ] && list "$1" || echo null; }

tell() {
  printf '{"instance_id":%s,"hostname":%s,"kind":"%s","user_data_sha256":"%s","keys":[%s],"unread":[%s],"exit":%s}\n' \
    "$(one $here/instance-id)" "$(one $here/hostname)" "$kind" "$sum" "$(list $here/keys)" "$(list $here/unread)" "$1" \
    > $here/info.draft
  mv $here/info.draft $here/info
}

look() {
  case $(head -n 1 $here/user-data | tr -d '\r') in
    '#!'*) kind=script ;;
    '#cloud-config'*) kind=cloud-config ;;
    '') kind=none ;;
    *) kind=unknown ;;
  esac
  sum=$(sha256sum $here/user-data)
  sum=${sum%% *}
}

case $1 in
  read)
    for disk in /dev/vd[a-z] none; do
      # Where ISO 9660 keeps its label; both ways of writing this one are in use.
      case $(tail -c +32809 "$disk" 2> /dev/null | head -c 7) in 'cidata ' | 'CIDATA ') break ;; esac
    done
    [ "$disk" = none ] && exit 0
    for module in $(cat /lib/modules/seed-order); do insmod "/lib/modules/$module.ko"; done
    mkdir -p $here /seed
    mount -t iso9660 -o ro "$disk" /seed || exit 0
    cp /seed/meta-data /seed/user-data $here
    umount /seed
    look
    awk -v here=$here -f /etc/seed.awk $here/meta-data
    [ -f $here/local-hostname ] && mv $here/local-hostname $here/hostname
    # What is done at every boot comes before what is done once: the user's own words win over the platform's.
    [ $kind = cloud-config ] && awk -v here=$here -f /etc/seed.awk $here/user-data
    tell null
    ;;
  run)
    look
    case $kind in
      script) cp $here/user-data $here/script && chmod 700 $here/script && set -- $here/script ;;
      *) [ -f $here/script ] || exit 0 && set -- sh $here/script ;;
    esac
    "$@" > $here/output 2>&1 < /dev/null
    tell $?
    ;;
esac
