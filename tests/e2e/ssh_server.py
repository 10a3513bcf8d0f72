"""A real sshd on loopback with keys, configuration and home folder of its own, and the ssh that knows it.

OpenSSH reads the configuration of the account, not of $HOME; so `ssh` in this PATH is the system's with
`-F` in front. Nothing outside the server's folder is changed, but for /run/sshd, which a root's sshd wants.
"""

import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import tempfile

from support import free_port, wait_until

SSHD = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
CONFIG = """\
Host *
  HostName 127.0.0.1
  Port {port}
  IdentitiesOnly yes
  IdentityAgent none
  GlobalKnownHostsFile /dev/null
  UserKnownHostsFile {folder}/known_hosts
Host * !nokey
  IdentityFile {folder}/key
"""
HOSTS = {  # alias: what differs from the good one; the first value given counts
    "stranger": "UserKnownHostsFile {folder}/none",
    "impostor": "UserKnownHostsFile {folder}/wrong_hosts",
    "nokey": "IdentityFile {folder}/other_key",
    "closed": "Port {closed}",
    "nowhere": "HostName no-such-host.invalid",
    "silent": "Port {silent}",
    "jumped": "ProxyJump pool",
}


class SshServer:
    """Aliases: `pool` and any other name are the server; those of HOSTS differ, each in its way."""

    def __init__(self):
        # Short: the path of a socket has 104 bytes.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="llsh-", dir="/tmp"))
        self.home = self.folder / "home"
        self.log = self.folder / "log"
        for name in ("home", "run", "bin"):
            (self.folder / name).mkdir(mode=0o700)
        for name in ("host_key", "key", "other_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name],
                           check=True, stdin=subprocess.DEVNULL, timeout=30)
        (self.folder / "authorized_keys").write_text((self.folder / "key.pub").read_text())
        self.made_run_folder = os.geteuid() == 0 and not os.path.isdir("/run/sshd")
        if self.made_run_folder:
            os.mkdir("/run/sshd", 0o755)
        self._start()
        self._write_client()

    def _start(self):
        for _ in range(5):  # a free port may be taken meanwhile
            self.port = free_port()
            config = self.folder / "sshd_config"
            config.write_text(
                f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host_key\n"
                f"AuthorizedKeysFile {self.folder}/authorized_keys\nPidFile none\nUsePAM no\n"
                "PasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\n"
                f"PermitRootLogin yes\nLogLevel VERBOSE\nSetEnv HOME={self.home}\n")
            self.process = subprocess.Popen([SSHD, "-D", "-f", config, "-E", self.log],
                                            stdin=subprocess.DEVNULL)
            if wait_until(lambda: self._answers() or self.process.poll() is not None, "sshd answers"):
                if self.process.poll() is None:
                    return
        raise AssertionError(self.log.read_text())

    def _answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _write_client(self):
        host_key = " ".join((self.folder / "host_key.pub").read_text().split()[:2])
        wrong_key = " ".join((self.folder / "other_key.pub").read_text().split()[:2])
        place = f"[127.0.0.1]:{self.port}"
        (self.folder / "known_hosts").write_text(f"{place} {host_key}\n")
        (self.folder / "wrong_hosts").write_text(f"{place} {wrong_key}\n")
        self.silent = socket.create_server(("127.0.0.1", 0))  # takes connections and says nothing
        values = {"folder": self.folder, "port": self.port, "closed": free_port(),
                  "silent": self.silent.getsockname()[1]}
        text = "".join(f"Host {alias}\n  {line.format(**values)}\n" for alias, line in HOSTS.items())
        (self.folder / "config").write_text(text + CONFIG.format(**values))
        wrapper = self.folder / "bin/ssh"
        wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.folder}/config "$@"\n')
        wrapper.chmod(0o755)

    @property
    def environment(self):
        return {"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "HOME": self.home,
                "XDG_RUNTIME_DIR": self.folder / "run", "LLORCH_CONFIG": self.folder / "llorch.toml"}

    def write_pools(self, **pools):
        """llorch.toml with a [pools.NAME] for each."""
        lines = []
        for name, fields in pools.items():
            lines += [f"[pools.{name}]"] + [f'{key} = "{value}"' for key, value in fields.items()]
        (self.folder / "llorch.toml").write_text("\n".join(lines) + "\n")

    def connections(self):
        """TCP connections that authenticated so far."""
        return self.log.read_text().count("Accepted publickey")

    def close_shared_connections(self):
        for control in (self.folder / "run/llorch-ssh").glob("[0-9a-f]*"):
            subprocess.run([self.folder / "bin/ssh", "-S", control, "-O", "exit", "pool"], check=False,
                           stdin=subprocess.DEVNULL, capture_output=True, timeout=30)

    def stop(self):
        self.close_shared_connections()
        self.process.terminate()
        self.process.wait(20)
        self.silent.close()
        if self.made_run_folder:
            os.rmdir("/run/sshd")
        shutil.rmtree(self.folder)


def account():
    return pwd.getpwuid(os.geteuid()).pw_name
