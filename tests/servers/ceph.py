"""A Ceph cluster of one machine, in memory, with its S3 gateway: ``ceph.py FOLDER PORT``.

One monitor, one manager, one store, one gateway, all on loopback, with keys. The gateway stays in
the foreground; the others are its children's siblings in one process group and end with it.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

from tests.servers.processes import free_port

CONF = """
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{mon}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = {here}/$name.keyring
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
osd_objectstore = memstore
memstore_device_bytes = 4294967296
run_dir = {here}
admin_socket = {here}/$name.asok
log_file = {here}/$name.log
pid_file = {here}/$name.pid
crash_dir = {here}/crash
mon_data = {here}/mon
osd_data = {here}/osd
mgr_data = {here}/mgr
rgw_data = {here}/rgw
mon_data_avail_warn = 1
mon_data_avail_crit = 1
mgr_initial_modules =
rgw_dns_name = localhost
"""


class Cluster:
    """What is set up, step by step."""

    def __init__(self, here: Path, key: str, secret: str) -> None:
        self.here = here
        self.key, self.secret = key, secret
        self.conf = here / "ceph.conf"
        self.fsid = str(uuid.uuid4())
        self.children: list[subprocess.Popen[bytes]] = []

    def run(self, *command: object, **how: object) -> str:
        line = [str(word) for word in command]
        done = subprocess.run(line, check=False, capture_output=True, text=True, **how)
        if done.returncode:
            raise SystemExit(f"{' '.join(line)}: {done.stdout}{done.stderr}")
        return done.stdout

    def ceph(self, *command: object) -> str:
        return self.run("ceph", "-c", self.conf, "--connect-timeout", 30, *command)

    def start(self, program: str, *arguments: object) -> None:
        line = [program, "-c", str(self.conf), "-f", *map(str, arguments)]
        self.children.append(subprocess.Popen(line, stdin=subprocess.DEVNULL))

    def monitor(self, port: int) -> None:
        for folder in ("mon", "mgr", "osd", "rgw", "crash"):
            (self.here / folder).mkdir()
        self.conf.write_text(CONF.format(here=self.here, fsid=self.fsid, mon=port))
        admin, first = self.here / "client.admin.keyring", self.here / "first.keyring"
        allow = ["--cap", "mon", "allow *"]
        every = [*allow, "--cap", "osd", "allow *", "--cap", "mgr", "allow *"]
        made = ["--create-keyring", "--gen-key"]
        self.run("ceph-authtool", admin, *made, "-n", "client.admin", *every)
        self.run("ceph-authtool", first, *made, "-n", "mon.", *allow)
        self.run("ceph-authtool", first, "--import-keyring", admin)
        where = f"[v2:127.0.0.1:{port}]"
        mapping = self.here / "monmap"
        self.run("monmaptool", "--create", "--fsid", self.fsid, "--addv", "a", where, mapping)
        self.run(
            "ceph-mon",
            "-c",
            self.conf,
            "--mkfs",
            "-i",
            "a",
            "--monmap",
            mapping,
            "--keyring",
            first,
        )
        self.start("ceph-mon", "-i", "a")
        self.ceph("-s")

    def manager(self) -> None:
        made = self.ceph(
            "auth", "get-or-create", "mgr.x", "mon", "allow profile mgr", "osd", "allow *"
        )
        (self.here / "mgr.x.keyring").write_text(made)
        self.start("ceph-mgr", "-i", "x")

    def store(self) -> None:
        name = str(uuid.uuid4())
        self.ceph("osd", "new", name)
        made = self.ceph(
            "auth", "get-or-create", "osd.0", "mon", "allow profile osd", "osd", "allow *"
        )
        (self.here / "osd.0.keyring").write_text(made)
        self.run("ceph-osd", "-c", self.conf, "-i", 0, "--mkfs", "--osd-uuid", name)
        self.start("ceph-osd", "-i", 0)
        for _ in range(300):
            if '"num_up_osds":1' in self.ceph("osd", "stat", "-f", "json").replace(" ", ""):
                return
            time.sleep(0.1)
        raise SystemExit("the store did not come up")

    def gateway(self, port: int) -> None:
        allow = ["mon", "allow rw", "osd", "allow rwx", "mgr", "allow rw"]
        made = self.ceph("auth", "get-or-create", "client.rgw", *allow)
        (self.here / "client.rgw.keyring").write_text(made)
        admin = ["radosgw-admin", "-c", self.conf, "-n", "client.rgw"]
        who = ["--uid", "tester", "--display-name", "tester"]
        keys = ["--access-key", self.key, "--secret-key", self.secret]
        self.run(*admin, "user", "create", *who, *keys)
        self.start(
            "radosgw", "-n", "client.rgw", f"--rgw_frontends=beast endpoint=127.0.0.1:{port}"
        )


def main() -> None:
    here, port, key, secret = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    os.environ["CEPH_CONF"] = str(here / "ceph.conf")
    cluster = Cluster(here, key, secret)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        cluster.monitor(free_port())
        cluster.manager()
        cluster.store()
        cluster.gateway(port)
        cluster.children[-1].wait()
    finally:
        for child in reversed(cluster.children):
            child.terminate()


if __name__ == "__main__":
    main()
