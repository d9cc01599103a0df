"""Attacks on the host: its files, network, kernel and processes."""

from journeyman.sandbox.attacks.attack import Attack, refused

FILES: list[Attack] = refused(
    "files",
    {
        "reads a file that everyone may read": "return open('{secret}').read()",
        "reads the password file": "return open('/etc/passwd').read()",
        "reads the shadow file": "return open('/etc/shadow').read()",
        "reads root's home": "return os.listdir('/root')",
        "reads the user's keys": "return os.listdir('{home}/.ssh')",
        "climbs out of its folder": "return open('../../../../../../etc/hostname').read()",
        "follows a link that it made": (
            "os.symlink('{secret}', 'link')\nreturn open('link').read()"
        ),
        "links to a file outside": "os.link('{secret}', 'link')\nreturn open('link').read()",
        "writes into a file outside": "open('{secret}', 'a').write('x')\nreturn 'written'",
        "makes a file outside": "open('{folder}/new', 'w')\nreturn 'written'",
        "renames a file outside": "os.rename('{secret}', '{secret}.old')\nreturn 'renamed'",
        "removes a file outside": "os.remove('{secret}')\nreturn 'removed'",
        "changes a mode outside": "os.chmod('{secret}', 0)\nreturn 'changed'",
        "changes a time outside": "os.utime('{secret}', (1, 1))\nreturn 'changed'",
        "empties a file outside": "os.truncate('{secret}', 0)\nreturn 'emptied'",
        "leaves a file in the machine's temporary folder": (
            "for folder in ('/tmp', '/var/tmp', '/dev/shm', '{home}', '{temp}'):\n"
            "    try: open(folder + '/{token}', 'w').write('x')\n"
            "    except OSError: pass"
        ),
        "writes to /usr": "open('/usr/{token}', 'w')\nreturn 'written'",
        "writes to the root": "open('/{token}', 'w')\nreturn 'written'",
        "writes a path with a newline": "open('/etc/a\\n{token}', 'w')\nreturn 'written'",
        "writes a kernel setting": "open('/proc/sys/vm/swappiness', 'w')\nreturn 'written'",
        "lists the devices of the machine": "return os.listdir('/sys')",
        "makes a device": "os.mknod('disk', 0o60600, 0x800)\nreturn 'made'",
        "reads a disk": "return open('/dev/vda', 'rb').read(1) or open('/dev/sda', 'rb').read(1)",
    },
    short=("reads a file that everyone may read", "makes a file outside", "removes a file outside"),
)

NETWORK: list[Attack] = refused(
    "network",
    {
        "connects by TCP": "socket.create_connection(('127.0.0.1', {tcp}), 1)\nreturn 'connected'",
        "sends by UDP": (
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "s.sendto(b'x', ('127.0.0.1', {udp}))\nreturn 'sent'"
        ),
        "listens by TCP": (
            "s = socket.socket()\ns.bind(('0.0.0.0', {listen}))\ns.listen()\nreturn 'listens'"
        ),
        "opens IPv6": "socket.socket(socket.AF_INET6)\nreturn 'opened'",
        "resolves a host name": "return socket.getaddrinfo('example.org', 80)",
        "reaches a socket with a path": (
            "socket.socket(socket.AF_UNIX).connect('{unix}')\nreturn 'connected'"
        ),
        "reaches a socket with an abstract name": (
            "socket.socket(socket.AF_UNIX).connect('\\0{token}')\nreturn 'connected'"
        ),
        "takes an abstract name": (
            "s = socket.socket(socket.AF_UNIX)\ns.bind('\\0{token}-own')\ns.listen()"
        ),
        "opens a packet socket": "socket.socket(17, socket.SOCK_RAW)\nreturn 'opened'",
        "opens a netlink socket": "socket.socket(16, socket.SOCK_RAW)\nreturn 'opened'",
        "calls the hypervisor": "socket.socket(40, socket.SOCK_STREAM)\nreturn 'opened'",
    },
    short=("connects by TCP", "sends by UDP", "reaches a socket with a path"),
)

KERNEL: list[Attack] = refused(
    "kernel",
    {
        "makes a user namespace": "return '' if libc().unshare(0x10000000) else 'made'",
        "makes a user namespace by its number": (
            "return '' if libc().syscall(272, 0x10000000) else 'made'"
        ),
        "makes a user namespace by clone": (
            "child = libc().syscall(56, 0x10000011, 0)\nif child == 0: os._exit(0)\n"
            "return '' if child < 0 else 'made'"
        ),
        "makes a user namespace by bubblewrap": (
            "subprocess.run(['bwrap', '--ro-bind', '/', '/', 'true'], check=True)\nreturn 'made'"
            "\n".replace("check=True", "check=True, stderr=-3")
        ),
        "mounts": "return '' if libc().mount(b'x', b'/tmp', b'tmpfs', 0, None) else 'mounted'",
        "changes its root": "os.chroot('.')\nreturn 'changed'",
        "becomes root": "os.setuid(0)\nreturn 'root' if os.getuid() == 0 else ''",
        "starts a program that makes it root": (
            "out = subprocess.run(['su', '-c', 'id -u'], stdin=-3, stdout=-1, timeout=4)\n"
            "return 'root' if out.stdout.strip() == b'0' else ''"
        ),
        "gains a privilege": (
            "libc().prctl(47, 2, 21, 0, 0)\n"
            "return '' if libc().prctl(39, 0, 0, 0, 0) == 1 else 'no_new_privs is off'"
        ),
        "takes shared memory": "return '' if libc().shmget(0, 4096, 0o1600) == -1 else 'taken'",
        "makes memory without a limit": "return os.memfd_create('x') and 'made'",
        "takes a key": "return '' if libc().syscall(250, 0, -3) == -1 else 'taken'",
        "loads a program into the kernel": "return '' if libc().syscall(321, 0, 0) else 'loaded'",
        "opens io_uring": "return '' if libc().syscall(425, 1, 0) == -1 else 'opened'",
        "hides from the memory killer": (
            "os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), b'-999')\nreturn 'hidden'"
        ),
        "raises its limits": (
            "import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (999, 999))\n"
            "return 'raised'"
        ),
        "types into a terminal": (
            "import fcntl, pty\nfcntl.ioctl(pty.openpty()[1], 0x5412, b'x')\nreturn 'typed'"
        ),
        "types into the terminal of the caller": (
            "import fcntl\nfcntl.ioctl(os.open('/dev/tty', os.O_RDWR), 0x5412, b'x')\n"
            "return 'typed'"
        ),
        "sets the clock": "time.clock_settime(time.CLOCK_REALTIME, 0)\nreturn 'set'",
        "names the machine": "socket.sethostname('{token}')\nreturn 'named'",
    },
    short=("makes a user namespace", "mounts", "raises its limits"),
)

PROCESSES: list[Attack] = refused(
    "processes",
    {
        "signals a process outside": "os.kill({victim}, signal.SIGURG)\nreturn 'sent'",
        # Processes inside may be reached; the decoys show whether one outside was.
        "signals everything": "os.kill(-1, signal.SIGURG)",
        "signals its parent": "os.kill(os.getppid(), signal.SIGURG)",
        "kills the first process": "os.kill(1, signal.SIGKILL)",
        "traces a process": "return '' if libc().ptrace(16, {victim}, 0, 0) else 'traced'",
        "reads the memory of a process": "return open('/proc/{victim}/mem', 'rb').read(1)",
        "reads secrets of the environment": (
            "import glob\nfound = repr(os.environ)\n"
            "for path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline'):\n"
            "    try: found += open(path, errors='replace').read()\n"
            "    except OSError: pass\n"
            "return 'found' if '{pass}word' in found else ''"
        ),
        "reads the environment of the first process": (
            "return open('/proc/1/environ').read().count('{pass}word')"
        ),
        "sees the processes outside": "return os.path.exists('/proc/{victim}/status') and "
        "open('/proc/{victim}/status').read()",
        "lowers the priority of others": "os.setpriority(os.PRIO_PROCESS, {victim}, 19)\n"
        "return 'lowered'",
        "moves a process outside": "os.sched_setaffinity({victim}, [0])\nreturn 'moved'",
        "limits a process outside": (
            "import resource\nresource.prlimit({victim}, resource.RLIMIT_NOFILE, (1, 1))\n"
            "return 'limited'"
        ),
        "leaves a daemon behind": (
            "if os.fork() == 0:\n"
            "    try: os.setsid()\n"
            "    except OSError: pass\n"
            "    if os.fork() == 0: os.execv('/usr/bin/sleep', ['sleep', '600'])\n"
            "    os._exit(0)\n"
            "time.sleep(0.2)"
        ),
        "leaves a daemon behind that ignores signals": (
            "if os.fork() == 0:\n"
            "    for n in (1, 2, 3, 14, 15): signal.signal(n, signal.SIG_IGN)\n"
            "    if os.fork() == 0: time.sleep(600)\n"
            "    os._exit(0)\n"
            "time.sleep(0.1)"
        ),
    },
    short=("signals a process outside", "leaves a daemon behind"),
)
