"""Programs that are not run, and what to do instead."""

from __future__ import annotations

from sashizu_sandbox.shell.tables.model import Table, each, never

__all__ = ["NEVER"]

_FETCH = never("it needs the network: use the tool fetch, if you have it")
_REMOTE = never("it reaches other machines")
_TERMINAL = never("nobody is at a terminal in here: use 'cat', 'head' or read_file")
_EDITOR = never("nobody is at a terminal in here: change files with write_file or apply_patch")
_STARTER = never("it only starts another program: name that program itself")
_TIMER = never("it only starts another program: name that itself, and give timeout")
_ARGUMENTS = never("it makes commands of its input: list first, then name the arguments yourself")
_RIGHTS = never("nothing in here gets more rights")
_PLACE = never("where a program runs is said by cwd: 'cd FOLDER && …' works at the start only")
_STATE = never("every command starts anew, and keeps nothing for the next one")
_INNER = never("there is no shell in here: name the program itself; 'which' finds programs")
_EVALUATES = never("there is no shell in here to read text as commands: write the commands")
_HOLDS = never("it starts or holds other processes")
_MACHINE = never("it changes or shows the machine, not the files at hand")
_PACKAGES = never("it changes the machine's packages")

NEVER: dict[str, Table] = {
    **each("curl wget aria2c http https lwp-download axel lynx w3m links", _FETCH),
    **each(
        "ssh scp sftp rsync nc ncat netcat socat telnet ftp tftp ssh-keygen ssh-agent openssl "
        "gh hub glab aws gcloud",
        _REMOTE,
    ),
    **each("less more most man info top htop watch screen tmux dialog whiptail", _TERMINAL),
    **each("vi vim nvim view vimdiff rvim nano pico emacs ed ex joe", _EDITOR),
    **each(
        "env nice ionice nohup setsid stdbuf taskset chrt unbuffer script time busybox toybox "
        "run-parts flock logsave rlwrap valgrind strace ltrace gdb",
        _STARTER,
    ),
    "timeout": _TIMER,
    **each("xargs parallel", _ARGUMENTS),
    **each("sudo su doas pkexec runuser setpriv capsh unshare nsenter chroot newgrp sg", _RIGHTS),
    **each("cd pushd popd dirs", _PLACE),
    **each(
        "export set unset declare typeset local readonly alias unalias shopt enable bind hash "
        "ulimit umask trap let read mapfile readarray getopts shift return exit logout break "
        "continue complete compgen compopt history fc",
        _STATE,
    ),
    **each("exec command builtin coproc function type", _INNER),
    **each("eval source . if then else fi for while until do done case esac select", _EVALUATES),
    **each("bg fg jobs wait disown suspend kill pkill killall at batch crontab", _HOLDS),
    **each(
        "mount umount dd mkfs fdisk systemctl service shutdown reboot docker podman kubectl "
        "sysctl insmod modprobe iptables ip ifconfig useradd usermod passwd chown chgrp",
        _MACHINE,
    ),
    **each("apt apt-get dpkg yum dnf rpm apk pacman brew snap", _PACKAGES),
}
