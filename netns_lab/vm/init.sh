#!/busybox sh
# Process 1 of the guest, in two steps. In the initramfs: the host's files, read-only, with memory laid over
# them. Then, with `inside` as the argument, on top of those: what every machine has mounted, and the agent.
# `settings` beside it says the host's name, where the modules of this kernel are, and how the agent is started.

die() {
    echo "netns-lab vm: $1" >/dev/console
    end
}

# QEMU runs with -no-reboot, so a restart is an end. Process 1 must never end: the kernel calls that a panic.
end() {
    echo b >/proc/sysrq-trigger
    while :; do :; done
}

outside() {
    $busybox mount -t proc proc /proc
    while read -r module; do
        $busybox insmod "/modules/$module" || die "$module can't be loaded"
    done </modules/order
    $busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro host /host ||
        die "the host's files can't be mounted"
    $busybox mount -t tmpfs -o mode=755 over /over
    $busybox mkdir /over/upper /over/work
    $busybox mount -t overlay -o lowerdir=/host,upperdir=/over/upper,workdir=/over/work root /root ||
        die "nothing can be laid over the host's files"
    $busybox mount -t tmpfs -o mode=755,nosuid,nodev run /root/run
    # This script goes on from memory: what is read from the host may end before it does.
    $busybox mkdir /root/run/netns-lab-vm
    $busybox cp /busybox /init /settings /root/run/netns-lab-vm/
    exec $busybox switch_root /root /run/netns-lab-vm/busybox sh /run/netns-lab-vm/init inside
}

inside() {
    $busybox mount -t proc proc /proc
    $busybox mount -t sysfs sys /sys
    $busybox mount -t devtmpfs dev /dev
    $busybox mkdir /dev/pts /dev/shm
    $busybox mount -t devpts -o gid=5,mode=620,ptmxmode=666 pts /dev/pts
    $busybox mount -t tmpfs -o mode=1777 shm /dev/shm
    $busybox mount -t cgroup2 cgroup2 /sys/fs/cgroup
    $busybox ln -s /proc/self/fd /dev/fd
    $busybox ln -s fd/0 /dev/stdin
    $busybox ln -s fd/1 /dev/stdout
    $busybox ln -s fd/2 /dev/stderr
    $busybox mkdir -p /lib/modules /run/lock
    $busybox mount -o bind "$modules" /lib/modules || die "$modules can't be mounted"
    $busybox hostname "$host"
    $busybox ip link set lo up
    ulimit -Hn 1048576
    until [ -c "$port" ]; do :; done
    eval "$agent" </dev/null >/dev/console 2>&1
    end
}

# By its path: by its name busybox runs /proc/self/exe, and below switch_root that is the host's /proc at first.
busybox=${0%/*}/busybox
. "${0%/*}/settings"
"${1:-outside}"
