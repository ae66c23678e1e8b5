"""The services that run on hosts from the start, by the role of the host."""

from __future__ import annotations

from typing import NamedTuple


class HostService(NamedTuple):
    """One service: the name that activities find it by, its program, its account, and where it runs."""

    key: str
    executable: str
    """`<python>` and `<cron>` stand for what the distribution has."""
    command: str
    """The arguments, divided by blanks; `~` is a blank inside of an argument."""
    user: str = ""
    """The account and its number; empty for the system's, `web` for the one that the distribution gives web servers."""
    roles: str = ""
    """The roles of hosts that have it; empty means every one."""

    @property
    def args(self) -> tuple[str, ...]:
        """The arguments one by one."""
        return tuple(part.replace("~", " ") for part in self.command.split())


LINUX_SERVICES: tuple[HostService, ...] = (
    HostService("journald", "/usr/lib/systemd/systemd-journald", "/usr/lib/systemd/systemd-journald"),
    HostService("udevd", "/usr/bin/udevadm", "/usr/lib/systemd/systemd-udevd"),
    HostService(
        "resolved", "/usr/lib/systemd/systemd-resolved", "/usr/lib/systemd/systemd-resolved", "systemd-resolve 991"
    ),
    HostService("dbus", "/usr/bin/dbus-daemon", "@dbus-daemon --system --address=systemd: --nofork", "messagebus 101"),
    HostService("chronyd", "/usr/sbin/chronyd", "/usr/sbin/chronyd -F 1", "_chrony 113"),
    HostService("cron", "/usr/sbin/<cron>", "/usr/sbin/<cron> -f -P"),
    HostService("sshd", "/usr/sbin/sshd", "sshd:~/usr/sbin/sshd~-D~[listener]~0~of~10-100~startups"),
    HostService("rsyslogd", "/usr/sbin/rsyslogd", "/usr/sbin/rsyslogd -n -iNONE", "syslog 104"),
    HostService("agent", "/opt/Elastic/Agent/elastic-agent", "/opt/Elastic/Agent/elastic-agent"),
    HostService(
        "beat", "/opt/Elastic/Agent/data/components/agentbeat", "agentbeat filebeat -E setup.ilm.enabled=false"
    ),
    HostService("nginx", "/usr/sbin/nginx", "nginx:~worker~process", "web 33", "web app"),
    HostService("php", "/usr/sbin/php-fpm8.3", "php-fpm:~pool~www", "web 33", "web"),
    HostService("apache", "/usr/sbin/apache2", "/usr/sbin/apache2 -k start", "web 33", "web"),
    HostService(
        "postgres",
        "/usr/lib/postgresql/16/bin/postgres",
        "/usr/lib/postgresql/16/bin/postgres -D /var/lib/postgresql/16/main",
        "postgres 114",
        "db",
    ),
    HostService("mariadb", "/usr/sbin/mariadbd", "/usr/sbin/mariadbd", "mysql 115", "db"),
    HostService("redis", "/usr/bin/redis-server", "/usr/bin/redis-server~127.0.0.1:6379", "redis 116", "app web"),
    HostService(
        "gunicorn", "<python>", "<python> /srv/app/bin/gunicorn -w 4 -b 0.0.0.0:8000 app.wsgi", "app 1500", "app"
    ),
    HostService("celery", "<python>", "<python> -m celery -A app worker -l info", "app 1500", "app"),
    HostService(
        "java",
        "/usr/lib/jvm/java-21-openjdk-amd64/bin/java",
        "java -Xmx4g -jar /srv/orders/orders.jar --server.port=8080",
        "app 1500",
        "app",
    ),
    HostService(
        "jenkins",
        "/usr/lib/jvm/java-21-openjdk-amd64/bin/java",
        "/usr/bin/java -Djava.awt.headless=true -jar /usr/share/java/jenkins.war",
        "jenkins 117",
        "build",
    ),
    HostService(
        "runner",
        "/usr/local/bin/gitlab-runner",
        "/usr/local/bin/gitlab-runner run --working-directory /home/gitlab-runner",
        "gitlab-runner 998",
        "build",
    ),
    HostService("dockerd", "/usr/bin/dockerd", "/usr/bin/dockerd -H fd://", "", "build container"),
    HostService("containerd", "/usr/bin/containerd", "/usr/bin/containerd", "", "build container app"),
    HostService(
        "kubelet", "/usr/bin/kubelet", "/usr/bin/kubelet --config=/var/lib/kubelet/config.yaml", "", "container"
    ),
    HostService(
        "prometheus",
        "/usr/bin/prometheus",
        "/usr/bin/prometheus --config.file=/etc/prometheus/prometheus.yml",
        "prometheus 118",
        "app",
    ),
    HostService("exporter", "/usr/bin/prometheus-node-exporter", "/usr/bin/prometheus-node-exporter", "prometheus 118"),
    HostService("fail2ban", "<python>", "<python> /usr/bin/fail2ban-server -xf start", "", "bastion"),
)

SYSTEM32 = "C:\\Windows\\System32\\"

WINDOWS_SERVICES: tuple[HostService, ...] = (
    HostService("svchost", SYSTEM32 + "svchost.exe", "C:\\Windows\\system32\\svchost.exe -k netsvcs -p"),
    HostService(
        "dnscache",
        SYSTEM32 + "svchost.exe",
        "C:\\Windows\\system32\\svchost.exe -k NetworkService -p -s Dnscache",
        "NETWORK~SERVICE 20",
    ),
    HostService("schedule", SYSTEM32 + "svchost.exe", "C:\\Windows\\system32\\svchost.exe -k netsvcs -p -s Schedule"),
    HostService("lsass", SYSTEM32 + "lsass.exe", "C:\\Windows\\system32\\lsass.exe"),
    HostService(
        "defender", "C:\\ProgramData\\Microsoft\\Windows Defender\\Platform\\4.18.25030\\MsMpEng.exe", "MsMpEng.exe"
    ),
    HostService("agent", "C:\\Program Files\\Elastic\\Agent\\elastic-agent.exe", "elastic-agent.exe"),
    HostService("search", SYSTEM32 + "SearchIndexer.exe", "C:\\Windows\\system32\\SearchIndexer.exe /Embedding"),
    HostService(
        "wmi", SYSTEM32 + "wbem\\WmiPrvSE.exe", "C:\\Windows\\system32\\wbem\\wmiprvse.exe -secured -Embedding"
    ),
    HostService("spooler", SYSTEM32 + "spoolsv.exe", "C:\\Windows\\System32\\spoolsv.exe"),
    HostService(
        "sqlservr",
        "C:\\Program Files\\Microsoft SQL Server\\MSSQL16.MSSQLSERVER\\MSSQL\\Binn\\sqlservr.exe",
        "sqlservr.exe -sMSSQLSERVER",
        "NETWORK~SERVICE 20",
        "server",
    ),
    HostService("dns", SYSTEM32 + "dns.exe", "C:\\Windows\\system32\\dns.exe", "", "domain"),
    HostService("installer", "C:\\Windows\\servicing\\TrustedInstaller.exe", "TrustedInstaller.exe"),
)
