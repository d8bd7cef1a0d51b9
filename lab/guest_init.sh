#!/bin/sh
# The first and only script of a guest: load drivers, raise the network, serve HTTP on :8080, keep the agent running.
/bin/busybox --install -s /bin
export PATH=/bin:/usr/sbin LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in $(cat /lib/modules/order); do insmod "/lib/modules/$module.ko"; done
for word in $(cat /proc/cmdline); do
  case $word in vs.name=*) name=${word#vs.name=} ;; esac
done
# A disk that cannot be written to may be a seed disk, which says who this guest is. Its drivers cost time, so only such
# a guest loads them.
for disk in /sys/block/vd*; do
  read -r only 2> /dev/null < "$disk/ro" && [ "$only" = 1 ] || continue
  /etc/seed.sh read
  [ -f /run/seed/hostname ] && read -r name < /run/seed/hostname
  break
done
hostname "${name:-guest}"

# The agent first: whoever finds this guest ready may put it to sleep at once, and wants to set its clock when it wakes.
for port in /sys/class/virtio-ports/*; do
  read -r channel < "$port/name" || continue
  [ "$channel" = org.qemu.guest_agent.0 ] || continue
  while :; do
    qemu-ga -m virtio-serial -p "/dev/${port##*/}" -t /run
    sleep 1
  done &
done

# One static file proves two things with one request: that the guest answers, and which boot answers.
read -r boot_id < /proc/sys/kernel/random/boot_id
echo "ok $boot_id" > /www/healthz
echo "$name" > /www/index.html

ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
# The agent keeps its state there as soon as it lives; a guest without one answers all the same, a moment later.
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  [ -e /run/qga.state ] && break
  sleep 0.1
done
httpd -p 8080 -h /www
read -r up _ < /proc/uptime
echo "READY $name $up" > /dev/console

# What the seed disk wants done is done last, as cloud-init does it: whoever asks for the page sees how it ended.
[ -d /run/seed ] && /etc/seed.sh run &

# A CPU added to a running guest stays offline until somebody says so; the listener costs nothing until then.
uevent /etc/online-cpu &

# The power button is how a hypervisor without an agent asks for a shutdown.
acpid -d -c /etc/acpi > /dev/null 2>&1 &

# The serial line gives a shell to whoever presses Enter there; none is started before. What a shell starts in the background
# is deaf to Ctrl-C for good, so this is the script's own end.
while :; do
  if read -r _ < /dev/ttyS0; then setsid sh -c 'exec sh -i < /dev/ttyS0 > /dev/ttyS0 2>&1'; else sleep 10; fi
done
