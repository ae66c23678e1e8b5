"""The services that run on hosts from the start, by the role of the host."""

from __future__ import annotations

from typing import NamedTuple

from runner.sample_data.processes import SampleProgram


class HostService(NamedTuple):
    """A service: the name by which activities find it, its program, its account and the hosts that have it."""

    key: str
    program: SampleProgram
    """`<python>` and `<cron>` stand for what the distribution has."""
    account: tuple[str, int] | None
    """Name and id; None: the system's account, `web`: the one that the distribution gives web servers."""
    roles: frozenset[str]
    """The roles of hosts that have it; empty: every host."""


def read_services(text: str) -> tuple[HostService, ...]:
    """The services of a table, one a line: key, account or `-`, roles or `*`, executable, arguments.

    `~` is a blank inside of a part; `=` as the first argument repeats the executable.
    """
    return tuple(_read_service(line) for line in text.splitlines() if line)


def _read_service(line: str) -> HostService:
    key, account, roles, executable, *args = (part.replace("~", " ") for part in line.split())
    name, _, number = account.partition(":")
    if args[0] == "=":
        args[0] = executable
    return HostService(
        key,
        SampleProgram(executable, tuple(args)),
        (name, int(number)) if number else None,
        frozenset() if roles == "*" else frozenset(roles.split(",")),
    )


JAVA = "/usr/lib/jvm/java-21-openjdk-amd64/bin/java"
SYSTEM32 = "C:\\Windows\\System32\\"
SQL_SERVER = "C:\\Program~Files\\Microsoft~SQL~Server\\MSSQL16.MSSQLSERVER\\MSSQL\\Binn\\"

LINUX_SERVICES = read_services(f"""
journald - * /usr/lib/systemd/systemd-journald =
udevd - * /usr/bin/udevadm /usr/lib/systemd/systemd-udevd
resolved systemd-resolve:991 * /usr/lib/systemd/systemd-resolved =
dbus messagebus:101 * /usr/bin/dbus-daemon @dbus-daemon --system --address=systemd: --nofork
chronyd _chrony:113 * /usr/sbin/chronyd = -F 1
cron - * /usr/sbin/<cron> = -f -P
sshd - * /usr/sbin/sshd sshd:~/usr/sbin/sshd~-D~[listener]~0~of~10-100~startups
rsyslogd syslog:104 * /usr/sbin/rsyslogd = -n -iNONE
agent - * /opt/Elastic/Agent/elastic-agent =
beat - * /opt/Elastic/Agent/data/components/agentbeat agentbeat filebeat -E setup.ilm.enabled=false
nginx web:33 web,app /usr/sbin/nginx nginx:~worker~process
php web:33 web /usr/sbin/php-fpm8.3 php-fpm:~pool~www
apache web:33 web /usr/sbin/apache2 = -k start
postgres postgres:114 db /usr/lib/postgresql/16/bin/postgres = -D /var/lib/postgresql/16/main
mariadb mysql:115 db /usr/sbin/mariadbd =
redis redis:116 app,web /usr/bin/redis-server /usr/bin/redis-server~127.0.0.1:6379
gunicorn app:1500 app <python> = /srv/app/bin/gunicorn -w 4 -b 0.0.0.0:8000 app.wsgi
celery app:1500 app <python> = -m celery -A app worker -l info
java app:1500 app {JAVA} java -Xmx4g -jar /srv/orders/orders.jar --server.port=8080
jenkins jenkins:117 build {JAVA} /usr/bin/java -Djava.awt.headless=true -jar /usr/share/java/jenkins.war
runner gitlab-runner:998 build /usr/local/bin/gitlab-runner = run --working-directory /home/gitlab-runner
dockerd - build,container /usr/bin/dockerd = -H fd://
containerd - build,container,app /usr/bin/containerd =
kubelet - container /usr/bin/kubelet = --config=/var/lib/kubelet/config.yaml
prometheus prometheus:118 app /usr/bin/prometheus = --config.file=/etc/prometheus/prometheus.yml
exporter prometheus:118 * /usr/bin/prometheus-node-exporter =
fail2ban - bastion <python> = /usr/bin/fail2ban-server -xf start
""")

WINDOWS_SERVICES = read_services(rf"""
svchost - * {SYSTEM32}svchost.exe C:\Windows\system32\svchost.exe -k netsvcs -p
dnscache NETWORK~SERVICE:20 * {SYSTEM32}svchost.exe C:\Windows\system32\svchost.exe -k NetworkService -p -s Dnscache
schedule - * {SYSTEM32}svchost.exe C:\Windows\system32\svchost.exe -k netsvcs -p -s Schedule
lsass - * {SYSTEM32}lsass.exe C:\Windows\system32\lsass.exe
defender - * C:\ProgramData\Microsoft\Windows~Defender\Platform\4.18.25030\MsMpEng.exe MsMpEng.exe
agent - * C:\Program~Files\Elastic\Agent\elastic-agent.exe elastic-agent.exe
search - * {SYSTEM32}SearchIndexer.exe C:\Windows\system32\SearchIndexer.exe /Embedding
wmi - * {SYSTEM32}wbem\WmiPrvSE.exe C:\Windows\system32\wbem\wmiprvse.exe -secured -Embedding
spooler - * {SYSTEM32}spoolsv.exe =
sqlservr NETWORK~SERVICE:20 server {SQL_SERVER}sqlservr.exe sqlservr.exe -sMSSQLSERVER
dns - domain {SYSTEM32}dns.exe C:\Windows\system32\dns.exe
installer - * C:\Windows\servicing\TrustedInstaller.exe TrustedInstaller.exe
""")
