"""The services that run on hosts from the start, by the role of the host."""

from __future__ import annotations

from typing import NamedTuple


class Service(NamedTuple):
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


LINUX_SERVICES: tuple[Service, ...] = (
    Service("journald", "/usr/lib/systemd/systemd-journald", "/usr/lib/systemd/systemd-journald"),
    Service("udevd", "/usr/bin/udevadm", "/usr/lib/systemd/systemd-udevd"),
    Service(
        "resolved", "/usr/lib/systemd/systemd-resolved", "/usr/lib/systemd/systemd-resolved", "systemd-resolve 991"
    ),
    Service("dbus", "/usr/bin/dbus-daemon", "@dbus-daemon --system --address=systemd: --nofork", "messagebus 101"),
    Service("chronyd", "/usr/sbin/chronyd", "/usr/sbin/chronyd -F 1", "_chrony 113"),
    Service("cron", "/usr/sbin/<cron>", "/usr/sbin/<cron> -f -P"),
    Service("sshd", "/usr/sbin/sshd", "sshd:~/usr/sbin/sshd~-D~[listener]~0~of~10-100~startups"),
    Service("rsyslogd", "/usr/sbin/rsyslogd", "/usr/sbin/rsyslogd -n -iNONE", "syslog 104"),
    Service("agent", "/opt/Elastic/Agent/elastic-agent", "/opt/Elastic/Agent/elastic-agent"),
    Service("beat", "/opt/Elastic/Agent/data/components/agentbeat", "agentbeat filebeat -E setup.ilm.enabled=false"),
    Service("nginx", "/usr/sbin/nginx", "nginx:~worker~process", "web 33", "web app"),
    Service("php", "/usr/sbin/php-fpm8.3", "php-fpm:~pool~www", "web 33", "web"),
    Service("apache", "/usr/sbin/apache2", "/usr/sbin/apache2 -k start", "web 33", "web"),
    Service(
        "postgres",
        "/usr/lib/postgresql/16/bin/postgres",
        "/usr/lib/postgresql/16/bin/postgres -D /var/lib/postgresql/16/main",
        "postgres 114",
        "db",
    ),
    Service("mariadb", "/usr/sbin/mariadbd", "/usr/sbin/mariadbd", "mysql 115", "db"),
    Service("redis", "/usr/bin/redis-server", "/usr/bin/redis-server~127.0.0.1:6379", "redis 116", "app web"),
    Service("gunicorn", "<python>", "<python> /srv/app/bin/gunicorn -w 4 -b 0.0.0.0:8000 app.wsgi", "app 1500", "app"),
    Service("celery", "<python>", "<python> -m celery -A app worker -l info", "app 1500", "app"),
    Service(
        "java",
        "/usr/lib/jvm/java-21-openjdk-amd64/bin/java",
        "java -Xmx4g -jar /srv/orders/orders.jar --server.port=8080",
        "app 1500",
        "app",
    ),
    Service(
        "jenkins",
        "/usr/lib/jvm/java-21-openjdk-amd64/bin/java",
        "/usr/bin/java -Djava.awt.headless=true -jar /usr/share/java/jenkins.war",
        "jenkins 117",
        "build",
    ),
    Service(
        "runner",
        "/usr/local/bin/gitlab-runner",
        "/usr/local/bin/gitlab-runner run --working-directory /home/gitlab-runner",
        "gitlab-runner 998",
        "build",
    ),
    Service("dockerd", "/usr/bin/dockerd", "/usr/bin/dockerd -H fd://", "", "build container"),
    Service("containerd", "/usr/bin/containerd", "/usr/bin/containerd", "", "build container app"),
    Service("kubelet", "/usr/bin/kubelet", "/usr/bin/kubelet --config=/var/lib/kubelet/config.yaml", "", "container"),
    Service(
        "prometheus",
        "/usr/bin/prometheus",
        "/usr/bin/prometheus --config.file=/etc/prometheus/prometheus.yml",
        "prometheus 118",
        "app",
    ),
    Service("exporter", "/usr/bin/prometheus-node-exporter", "/usr/bin/prometheus-node-exporter", "prometheus 118"),
    Service("fail2ban", "<python>", "<python> /usr/bin/fail2ban-server -xf start", "", "bastion"),
)

SYSTEM32 = "C:\\Windows\\System32\\"

WINDOWS_SERVICES: tuple[Service, ...] = (
    Service("svchost", SYSTEM32 + "svchost.exe", "C:\\Windows\\system32\\svchost.exe -k netsvcs -p"),
    Service(
        "dnscache",
        SYSTEM32 + "svchost.exe",
        "C:\\Windows\\system32\\svchost.exe -k NetworkService -p -s Dnscache",
        "NETWORK~SERVICE 20",
    ),
    Service("schedule", SYSTEM32 + "svchost.exe", "C:\\Windows\\system32\\svchost.exe -k netsvcs -p -s Schedule"),
    Service("lsass", SYSTEM32 + "lsass.exe", "C:\\Windows\\system32\\lsass.exe"),
    Service(
        "defender", "C:\\ProgramData\\Microsoft\\Windows Defender\\Platform\\4.18.25030\\MsMpEng.exe", "MsMpEng.exe"
    ),
    Service("agent", "C:\\Program Files\\Elastic\\Agent\\elastic-agent.exe", "elastic-agent.exe"),
    Service("search", SYSTEM32 + "SearchIndexer.exe", "C:\\Windows\\system32\\SearchIndexer.exe /Embedding"),
    Service("wmi", SYSTEM32 + "wbem\\WmiPrvSE.exe", "C:\\Windows\\system32\\wbem\\wmiprvse.exe -secured -Embedding"),
    Service("spooler", SYSTEM32 + "spoolsv.exe", "C:\\Windows\\System32\\spoolsv.exe"),
    Service(
        "sqlservr",
        "C:\\Program Files\\Microsoft SQL Server\\MSSQL16.MSSQLSERVER\\MSSQL\\Binn\\sqlservr.exe",
        "sqlservr.exe -sMSSQLSERVER",
        "NETWORK~SERVICE 20",
        "server",
    ),
    Service("dns", SYSTEM32 + "dns.exe", "C:\\Windows\\system32\\dns.exe", "", "domain"),
    Service("installer", "C:\\Windows\\servicing\\TrustedInstaller.exe", "TrustedInstaller.exe"),
)
