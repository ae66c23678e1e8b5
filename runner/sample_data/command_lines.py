"""The command lines of ordinary work: catalogues of programs, and the words that fill their placeholders.

A line of a catalogue is the program's file and its arguments, quoted as in a shell; `Words` fills `<word>` and the
like. No line may match the first stage of a rule in an activity that connects: `LOOKALIKES`, whose arguments resemble
those of a reverse shell, are run by activities that open no connection.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from random import Random

from runner.sample_data.processes import SampleProgram

TOOLS = """
/usr/bin/ls ls -la <dir>
/usr/bin/ls ls --color=auto <dir>
/usr/bin/cat cat <file>
/usr/bin/grep grep -rn <word> <dir>
/usr/bin/grep grep --color=auto -i <word> <log>
/usr/bin/grep grep -c <hex> <log>
/usr/bin/sed sed -i s/<word>/<word>/g <file>
/usr/bin/sed sed -n <n>,<n>p <log>
/usr/bin/mawk awk '{print $<d>}' <log>
/usr/bin/gawk gawk -F: '$3 >= <n> {print $1}' /etc/passwd
/usr/bin/find find <dir> -name '*.<word>' -mtime +<d>
/usr/bin/find find <dir> -type f -size +<n>k
/usr/bin/head head -n <n> <log>
/usr/bin/tail tail -n <n> <log>
/usr/bin/tail tail -F <log>
/usr/bin/sort sort -k<d> -u <file>
/usr/bin/uniq uniq -c
/usr/bin/wc wc -l <log>
/usr/bin/cut cut -d: -f<d> <file>
/usr/bin/tr tr -d '\\n'
/usr/bin/xargs xargs -r -n <d> rm -f
/usr/bin/tee tee -a <log>
/usr/bin/diff diff -u <file> <file>
/usr/bin/cmp cmp -s <file> <file>
/usr/bin/md5sum md5sum <file>
/usr/bin/sha256sum sha256sum -c <file>
/usr/bin/stat stat -c %Y <file>
/usr/bin/file file -b <file>
/usr/bin/readlink readlink -f <file>
/usr/bin/dirname dirname <file>
/usr/bin/basename basename <file>
/usr/bin/cp cp -a <file> /var/backups/<word>-<n>
/usr/bin/mv mv <file> <file>.<n>
/usr/bin/rm rm -rf /tmp/<word>.<hex>
/usr/bin/mkdir mkdir -p <dir>/<word>
/usr/bin/rmdir rmdir <dir>/<word>
/usr/bin/touch touch <dir>/.<word>
/usr/bin/chmod chmod 0640 <file>
/usr/bin/chown chown <user>:<user> <file>
/usr/bin/ln ln -sf <file> <dir>/<word>
/usr/bin/install install -m 0755 <file> /usr/local/bin/<word>
/usr/bin/mktemp mktemp -d /tmp/<word>.XXXXXX
/usr/bin/tar tar czf /var/backups/<word>-<n>.tar.gz <dir>
/usr/bin/gzip gzip -9 <log>.<d>
/usr/bin/xz xz -T0 <log>.<d>
/usr/bin/zstd zstd -q --rm <log>.<d>
/usr/bin/unzip unzip -q -o /tmp/<word>-<n>.zip -d <dir>
/usr/bin/df df -hT <dir>
/usr/bin/du du -sh <dir>
/usr/bin/free free -m
/usr/bin/uptime uptime
/usr/bin/date date +%Y-%m-%dT%H:%M:%S
/usr/bin/sleep sleep <d>
/usr/bin/id id -u <user>
/usr/bin/whoami whoami
/usr/bin/groups groups <user>
/usr/bin/getent getent passwd <user>
/usr/bin/hostname hostname -f
/usr/bin/uname uname -r
/usr/bin/env env
/usr/bin/printenv printenv PATH
/usr/bin/ps ps aux --sort=-%mem
/usr/bin/ps ps -p <n> -o comm=
/usr/bin/pgrep pgrep -f <word>
/usr/bin/pidof pidof <word>
/usr/bin/kill kill -HUP <n>
/usr/bin/top top -b -n 1
/usr/bin/lsof lsof -p <n>
/usr/sbin/ss ss -tlnp
/usr/bin/netstat netstat -plant
/usr/sbin/ip ip -br address
/usr/sbin/ip ip route get <ip>
/usr/sbin/sysctl sysctl -n vm.swappiness
/usr/bin/lscpu lscpu
/usr/bin/lsblk lsblk -f
/usr/bin/vmstat vmstat 1 <d>
/usr/bin/iostat iostat -x <d> 2
/usr/bin/nproc nproc
/usr/bin/mount mount -t <word>
/usr/bin/findmnt findmnt -n -o SOURCE <dir>
/usr/bin/dmesg dmesg -T
/usr/bin/journalctl journalctl -u <unit> -n <n> --no-pager
/usr/bin/systemctl systemctl status <unit>
/usr/bin/systemctl systemctl is-active <unit>
/usr/bin/systemctl systemctl --quiet is-enabled <unit>
/usr/bin/loginctl loginctl list-sessions
/usr/bin/timedatectl timedatectl show
/usr/bin/logger logger -t <word> 'finished in <n> s'
/usr/bin/crontab crontab -l -u <user>
/usr/bin/sudo sudo systemctl restart <unit>
/usr/bin/su su - <user>
/usr/bin/vim.basic vim <file>
/usr/bin/nano nano <file>
/usr/bin/less less <log>
/usr/bin/man man <word>
/usr/bin/watch watch -n <d> df -h
/usr/bin/jq jq -r .<word>[<d>] <file>
/usr/bin/yq yq eval .<word> <file>
/usr/bin/base64 base64 -d <file>
/usr/bin/openssl openssl x509 -in <file> -noout -enddate
/usr/bin/openssl openssl rand -hex <n>
/usr/bin/gpg gpg --batch --verify <file>
/usr/bin/git git status --porcelain
/usr/bin/git git log --oneline -n <n>
/usr/bin/git git checkout <branch>
/usr/bin/git git rev-parse --short HEAD
/usr/bin/git git diff --name-only <hex>
/usr/bin/perl perl -pi -e s/<word>/<word>/ <file>
/usr/bin/perl perl -ne 'print if /<word>/' <log>
/usr/bin/perl perl /usr/share/munin/<word>_check.pl --warn <n>
/usr/bin/ruby3.1 ruby /srv/<word>/bin/rake db:migrate
/usr/bin/php8.3 php /srv/www/artisan schedule:run
/usr/bin/php8.3 php -r 'echo PHP_VERSION;'
/usr/bin/lua5.4 lua /usr/share/<word>/<word>.lua
/usr/bin/python3.12 python3 /opt/<word>/<word>.py --limit <n>
/usr/bin/python3.12 python3 -c 'import json,sys; print(json.load(sys.stdin)["<word>"])'
/usr/bin/python3.12 python3 -c 'import sys; print(sys.version_info[:2])'
/usr/bin/python3.12 python3 -m json.tool <file>
/usr/bin/python3.12 python3 -m pytest -q tests/test_<word>.py
/usr/bin/node node /srv/<word>/scripts/<word>.js --id <n>
/usr/bin/psql psql -At -c 'select count(*) from <word>_<n>'
/usr/bin/pg_dump pg_dump -Fc -f /var/backups/<word>-<n>.dump <word>
/usr/bin/mariadb-dump mariadb-dump --single-transaction <word>
/usr/bin/redis-cli redis-cli -n <d> info memory
/usr/sbin/nginx nginx -t
/usr/sbin/apachectl apachectl graceful
/usr/sbin/logrotate logrotate /etc/logrotate.d/<word>
/usr/sbin/ldconfig ldconfig
/usr/sbin/useradd useradd -r -s /usr/sbin/nologin <word>
/usr/sbin/usermod usermod -aG docker <user>
/usr/sbin/update-rc.d update-rc.d <word> defaults
/usr/sbin/iptables iptables -L -n -v
/usr/sbin/nft nft list ruleset
/usr/sbin/tune2fs tune2fs -l /dev/sda<d>
/usr/sbin/smartctl smartctl -H /dev/sda
/usr/sbin/lvs lvs --noheadings -o lv_name
/usr/sbin/depmod depmod -a
/usr/sbin/modprobe modprobe <word>
/usr/bin/docker docker ps --format '{{.Names}}'
/usr/bin/docker docker inspect <hex>
/usr/bin/docker docker logs --tail <n> <word>-<d>
/usr/bin/kubectl kubectl get pods -n <word> -o json
/usr/bin/helm helm list -n <word>
/usr/bin/crictl crictl ps --name <word>
/usr/bin/terraform terraform plan -out=/tmp/<word>.plan
/usr/bin/ansible-playbook ansible-playbook -i inventory/<word> <word>.yml
/usr/bin/dpkg-query dpkg-query -W -f ${Version} <pkg>
/usr/bin/apt-cache apt-cache policy <pkg>
/usr/bin/rpm rpm -q <pkg>
/usr/bin/tmux tmux new-session -d -s <word>
/usr/bin/screen screen -ls
/usr/bin/expr expr <n> + <d>
/usr/bin/bc bc -l
/usr/bin/test test -f <file>
/usr/bin/seq seq 1 <n>
/usr/bin/timeout timeout <d> cat <file>
/usr/bin/nice nice -n <d> gzip <log>
/usr/bin/flock flock -n /run/<word>.lock true
/usr/bin/run-parts run-parts --report /etc/cron.hourly
/usr/bin/strings strings -n <d> <file>
/usr/bin/od od -An -tx1 <file>
/usr/bin/ldd ldd /usr/local/bin/<word>
/usr/bin/locale locale -a
/usr/bin/clear clear
/usr/bin/dircolors dircolors -b
/usr/bin/lesspipe lesspipe <file>
/usr/bin/mesg mesg n
"""

CONNECTING = """
/usr/bin/curl curl -fsS <url>
/usr/bin/curl curl -sS -o /tmp/<word>.json <url>
/usr/bin/curl curl -X POST -H 'Content-Type: application/json' -d @/tmp/<word>.json <url>
/usr/bin/wget wget -q -O /tmp/<word>-<n>.tar.gz <url>
/usr/bin/git-remote-https git-remote-https origin <url>
/usr/bin/ssh ssh -o BatchMode=yes <user>@<host> uptime
/usr/bin/scp scp <file> <user>@<host>:/srv/<word>/
/usr/bin/sftp sftp -b /tmp/<word>.batch <user>@<host>
/usr/bin/rsync rsync -az --delete <dir>/ <host>::<word>
/usr/bin/python3.12 python3 /opt/<word>/collect.py --target <host>
/usr/bin/python3.12 python3 -m pip install <pkg>==<d>.<d>.<d>
/usr/bin/node node /usr/bin/npm ci --prefix <dir>
/usr/bin/go go mod download <word>
/usr/bin/skopeo skopeo copy docker://<host>/<word>:<d> dir:/tmp/<word>
/usr/bin/psql psql -h <host> -U <user> -c 'select <n>'
/usr/bin/aws aws s3 cp <file> s3://<word>-<n>/
/usr/bin/php8.3 php /srv/www/artisan queue:work --once
/usr/bin/ruby3.1 ruby /srv/<word>/bin/sidekiq -q <word>
/usr/bin/perl perl /usr/local/sbin/check_<word>.pl -H <host> -p <port>
/usr/bin/nc.openbsd nc -z -w <d> <host> <port>
/usr/bin/nc nc -zv <host> <port>
/usr/bin/nc nc -z <ip> <port>
/usr/bin/dig dig +short <host>
/usr/bin/ldapsearch ldapsearch -x -H ldap://<host> uid=<user>
/usr/bin/snmpget snmpget -v2c -c public <ip> sysUpTime.0
/usr/bin/smtp smtp -t unix -u
/usr/bin/chronyc chronyc -h <host> tracking
/usr/bin/telnet telnet <ip>
"""

LOOKALIKES = """
/usr/bin/python3.12 python3 -c 'import subprocess; subprocess.call(["systemctl","is-active","<unit>"])'
/usr/bin/python3.12 python3 -c 'import pty; pty.spawn(["/usr/bin/tmux","attach","-t","<word>"])'
/usr/bin/python3.11 python3 -c 'import os,subprocess; print(subprocess.check_call(["true"]))'
/usr/bin/perl perl -e 'use IO::Socket::UNIX; system("logger <word> <n>");'
/usr/bin/ruby ruby -rsocket -e 'puts TCPSocket.new("localhost", <port>).inspect if ARGV.any?'
/usr/bin/php8.3 php -r 'if (function_exists("fsockopen")) { passthru("/bin/hash <word>"); }'
/usr/bin/awk awk '/inet/tcp/ {print $<d>}' <log>
/usr/bin/openssl openssl s_client -connect localhost:<port> -help
/usr/bin/nc nc -h -e <word>
/usr/bin/telnet telnet -E -8
"""

BUILD_FILES = ("main", "lexer", "parser", "alloc", "string", "hash", "net", "queue", "config", "log", "thread", "codec")
WORDS = (
    "alpha", "archive", "audit", "backup", "billing", "cache", "catalog", "checkout", "cleanup", "client", "cluster",
    "config", "customer", "daily", "deploy", "export", "feed", "gateway", "health", "image", "import", "index",
    "ingest", "invoice", "ledger", "mailer", "metrics", "monitor", "notify", "orders", "payment", "pipeline", "portal",
    "price", "proxy", "queue", "report", "router", "search", "session", "shipping", "stage", "stock", "sync", "tenant",
    "token", "upload", "vault", "webhook", "worker",
)  # fmt: skip
PACKAGES = (
    "bash", "curl", "libssl3", "openssh-server", "nginx", "libc6", "tzdata", "systemd", "python3-requests", "git",
    "ca-certificates", "libxml2", "vim", "perl", "sudo", "rsync", "gnupg", "libpam-modules", "requests", "urllib3",
)  # fmt: skip
UNITS = ("nginx", "ssh", "cron", "postgresql", "docker", "redis-server", "elastic-agent", "app", "rsyslog", "chrony")
PEOPLE = ("amara", "bjorn", "chen", "dalia", "emeka", "fatima", "goran", "hanna", "deploy", "postgres", "www-data")
LOGS = ("syslog", "auth.log", "nginx/access.log", "nginx/error.log", "app/app.log", "postgresql/main.log", "dpkg.log")
TYPES = ("conf", "yml", "json", "txt", "py", "ini", "csv", "service", "env", "sql", "md", "sh")
PORTS = (22, 25, 80, 443, 3306, 5432, 6379, 8080, 8443, 9200)
FOLDERS = ("/etc", "/srv", "/opt", "/var/lib", "/home/deploy", "/usr/local/share", "/var/www")


def _folder(rng: Random) -> str:
    return f"{rng.choice(FOLDERS)}/{rng.choice(WORDS)}"


FILLERS: Mapping[str, Callable[[Random], str]] = {
    "n": lambda rng: str(rng.randrange(10, 99_999)),
    "d": lambda rng: str(rng.randrange(1, 10)),
    "word": lambda rng: rng.choice(WORDS),
    "hex": lambda rng: f"{rng.getrandbits(48):012x}",
    "file": lambda rng: f"{_folder(rng)}/{rng.choice(WORDS)}.{rng.choice(TYPES)}",
    "dir": _folder,
    "log": lambda rng: f"/var/log/{rng.choice(LOGS)}",
    "host": lambda rng: f"{rng.choice(WORDS)}-{rng.randrange(1, 30):02d}.example.internal",
    "ip": lambda rng: f"10.40.{rng.randrange(1, 9)}.{rng.randrange(1, 250)}",
    "user": lambda rng: rng.choice(PEOPLE),
    "pkg": lambda rng: rng.choice(PACKAGES),
    "url": lambda rng: f"https://{rng.choice(WORDS)}.example.internal/api/v{rng.randrange(1, 4)}/{rng.choice(WORDS)}",
    "branch": lambda rng: f"feature/{rng.choice(WORDS)}-{rng.randrange(100, 9_999)}",
    "unit": lambda rng: f"{rng.choice(UNITS)}.service",
    "port": lambda rng: str(rng.choice(PORTS)),
}
"""The text for a placeholder of each name."""
PLACEHOLDER = re.compile(f"<({'|'.join(FILLERS)})>")


class Words:
    """A source of random programs and words: picks lines of the catalogues and fills placeholders."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.tools = read_catalogue(TOOLS)
        self.connecting = read_catalogue(CONNECTING)
        self.lookalikes = read_catalogue(LOOKALIKES)

    def tool(self) -> SampleProgram:
        """A program that opens no connection."""
        return self.fill(self.rng.choice(self.tools))

    def connecting_tool(self) -> SampleProgram:
        """A program that connects to another host."""
        return self.fill(self.rng.choice(self.connecting))

    def lookalike(self) -> SampleProgram:
        """A program whose arguments resemble those of a reverse shell; it must not connect."""
        return self.fill(self.rng.choice(self.lookalikes))

    def program(self, text: str) -> SampleProgram:
        """The program of a catalogue line, with its placeholders filled in."""
        return self.fill(read_program(text))

    def fill(self, program: SampleProgram) -> SampleProgram:
        """The program with its placeholders filled in."""
        return SampleProgram(
            program.executable, tuple(self.text(part) if "<" in part else part for part in program.args)
        )

    def text(self, pattern: str) -> str:
        """The text with its placeholders filled in."""
        return PLACEHOLDER.sub(lambda found: FILLERS[found[1]](self.rng), pattern)

    def word(self) -> str:
        """The name of a component of some business."""
        return self.rng.choice(WORDS)


def read_catalogue(text: str) -> Sequence[SampleProgram]:
    """The programs of a catalogue, one per line that is not empty."""
    return tuple(read_program(line) for line in text.splitlines() if line)


def read_program(line: str) -> SampleProgram:
    """The program of a catalogue line."""
    executable, *args = shlex.split(line)
    return SampleProgram(executable, tuple(args))


def shell(executable: str, script: str) -> SampleProgram:
    """A shell that runs a one-line script, as `system()` starts it."""
    return SampleProgram(executable, ("sh", "-c", script))
