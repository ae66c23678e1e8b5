"""Ordinary activity of Linux hosts: logins, cron jobs, web incoming_requests, builds, package_installation, containers.

Two invariants keep it from matching either rule. A shell connects to loopback addresses only, and `socat`, which
connects to others, has no children. And a process with arguments like those of a reverse shell never connects.
"""

from __future__ import annotations

from collections.abc import Callable

from runner.sample_data.addresses import Endpoint, client, internal_service, loopback, service_of_the_internet
from runner.sample_data.catalogues import table
from runner.sample_data.command_lines import BUILD_FILES, shell
from runner.sample_data.processes import Process, SampleProgram, linux_user
from runner.sample_data.timeline import Timeline

LinuxActivity = Callable[[Timeline], None]


def interactive_commands(line: Timeline) -> None:
    """An administrator runs commands in an open session."""
    session = line.rng.choice(line.machine.sessions)
    for _ in range(line.rng.randrange(1, 5)):
        tool = line.run(session, line.words.tool())
        line.wait(800, 90_000)
        if line.rng.random() < 0.2:
            line.file(tool, "creation", path=line.words.text("/home/<user>/<word>-<n>.txt"))
        line.end(tool, line.rng.choice((0, 0, 0, 1)))
        line.wait(50_000, 900_000)


def subshell(line: Timeline) -> None:
    """A script runs commands in subshells."""
    session = line.rng.choice(line.machine.sessions)
    script = line.run(session, line.words.program("/usr/bin/bash bash /usr/local/sbin/<word>-<word>.sh"))
    line.wait(500, 9_000)
    for _ in range(line.rng.randrange(1, 3)):
        inner = line.fork(script)
        line.wait(300, 3_000)
        tool = line.run(inner, line.words.tool())
        line.wait(900, 30_000)
        line.end(tool)
        line.end(inner)
    line.end(script)


def cron_job(line: Timeline) -> None:
    """The cron daemon runs a job through a shell."""
    cron = line.machine.services["cron"]
    child = line.fork(cron)
    line.wait(400, 3_000)
    job = line.run(child, shell(line.machine.host.image.shell, line.words.text("/usr/local/bin/<word>-<word> --quiet")))
    line.wait(500, 4_000)
    inner = line.run(job, line.words.program("/usr/bin/bash /bin/bash /usr/local/bin/<word>-<word>"))
    for _ in range(line.rng.randrange(1, 4)):
        line.wait(2_000, 70_000)
        line.whole_life(inner, line.words.tool())
    line.file(inner, "creation", path=line.words.text("/var/lib/<word>/<word>-<n>.state"))
    line.end(inner)
    line.end(job)
    line.end(child)


def lookalike(line: Timeline) -> None:
    """A one-liner that resembles a reverse shell, without a connection."""
    session = line.rng.choice(line.machine.sessions)
    tool = line.run(session, line.words.lookalike())
    line.wait(2_000, 200_000)
    line.end(tool)


def login(line: Timeline) -> None:
    """A login through sshd, some commands and the logout."""
    listener = line.machine.services["sshd"]
    origin = client(line.rng, 22)
    line.accept(listener, origin)
    line.wait(2_000, 20_000)
    server = line.run(listener, SampleProgram("/usr/sbin/sshd", ("sshd: [accepted]",)))
    person = line.rng.choice(line.machine.people)
    line.wait(40_000, 700_000)
    child = line.fork(server)
    child.interactive = True
    child.lead(entry={"source": {"ip": origin.address}, "type": "sshd"}, directory=f"/home/{person.name}")
    line.wait(1_000, 5_000)
    line.execute(child, SampleProgram("/usr/bin/bash", ("-bash",)), user=person)
    for command in ("/usr/bin/id id -un", "/usr/bin/dircolors dircolors -b", "/usr/bin/lesspipe lesspipe"):
        line.wait(500, 3_000)
        line.end(line.run(child, line.words.program(command)))
    for _ in range(line.rng.randrange(1, 4)):
        line.wait(100_000, 1_500_000)
        line.end(line.run(child, line.words.tool()))
    line.wait(100_000, 900_000)
    line.end(child)
    line.disconnect(server, origin)
    line.end(server)


def package_installation(line: Timeline) -> None:
    """The package manager fetches, unpacks and configures a package."""
    session = line.rng.choice(line.machine.sessions)
    name = line.words.text("<pkg>")
    debian = line.machine.host.image.family == "debian"
    tool = f"/usr/bin/apt-get apt-get install -y {name}" if debian else f"/usr/bin/dnf-3 dnf install -y {name}"
    manager = line.run(session, line.words.program(tool), user=line.machine.system)
    line.wait(5_000, 90_000)
    fetch = line.run(manager, line.words.program("/usr/lib/apt/methods/https /usr/lib/apt/methods/https"))
    mirror = service_of_the_internet(line.rng)
    line.look_up(fetch, mirror)
    line.wait(1_000, 30_000)
    line.connect(fetch, mirror)
    line.wait(50_000, 900_000)
    line.file(fetch, "creation", path=line.words.text(f"/var/cache/apt/archives/{name}_<d>.<d>.<n>_amd64.deb"))
    line.disconnect(fetch, mirror)
    line.end(fetch)
    unpack = line.run(manager, line.words.program(f"/usr/bin/dpkg /usr/bin/dpkg --status-fd 21 --unpack {name}"))
    for _ in range(line.rng.randrange(2, 7)):
        line.wait(300, 4_000)
        final = line.words.text(f"/usr/share/{name}/<word>/<word>-<n>.<word>")
        line.file(unpack, "creation", path=f"{final}.dpkg-new")
        line.file(unpack, "rename", path=final, original=f"{final}.dpkg-new")
    shell_file = line.machine.host.image.shell
    script = line.run(unpack, line.words.program(f"{shell_file} /bin/sh /var/lib/dpkg/info/{name}.postinst configure"))
    line.whole_life(script, line.words.tool())
    line.end(script)
    line.end(unpack)
    line.end(manager)


def build(line: Timeline) -> None:
    """A build of some files: make, a shell, the compiler's driver and its passes."""
    parent = line.machine.services.get("runner") or line.rng.choice(line.machine.sessions)
    top = line.words.text("/home/gitlab-runner/builds/<word>-<n>")
    make = line.run(parent, SampleProgram("/usr/bin/make", ("make", f"-j{line.rng.randrange(2, 9)}", "-C", top)))
    for _ in range(line.rng.randrange(1, 4)):
        stem = line.rng.choice(BUILD_FILES)
        source, target = f"src/{stem}.c", f"{top}/obj/{stem}.o"
        command = f"gcc -O2 -g -Wall -Iinclude -DVERSION={line.rng.randrange(1, 99)} -c {source} -o obj/{stem}.o"
        step = line.run(make, shell(line.machine.host.image.shell, command))
        driver = line.run(step, SampleProgram("/usr/bin/x86_64-linux-gnu-gcc-13", tuple(command.split())))
        temporary = line.words.text("/tmp/cc<hex>.s")
        passes = (
            ("/usr/libexec/gcc/x86_64-linux-gnu/13/cc1", ("cc1", "-quiet", source, "-O2", "-o", temporary), temporary),
            ("/usr/bin/x86_64-linux-gnu-as", ("as", "--64", "-o", target, temporary), target),
        )
        for executable, args, output in passes:
            stage = line.run(driver, SampleProgram(executable, args))
            line.file(stage, "creation", path=output)
            line.wait(5_000, 200_000)
            line.end(stage)
        line.file(driver, "deletion", path=temporary)
        line.end(driver)
        line.end(step)
    line.end(make)


def container(line: Timeline) -> None:
    """A container, from its start with an entry point in a shell to its end."""
    parent = line.machine.services.get("containerd")
    if parent is None:
        return cron_job(line)
    container_id = f"{line.rng.getrandbits(256):064x}"
    image = line.words.text("registry.example.internal/<word>/<word>")
    shim = f"/usr/bin/containerd-shim-runc-v2 containerd-shim-runc-v2 -namespace moby -id {container_id}"
    keeper = line.run(parent, line.words.program(shim))
    line.wait(1_000, 9_000)
    line.end(line.run(keeper, line.words.program("/usr/bin/runc runc --root /run/docker/runtime-runc/moby init")))
    first = line.fork(keeper)
    first.lead(entry={"type": "container"}, directory="/app")
    tag = [f"{line.rng.randrange(1, 9)}.{line.rng.randrange(0, 30)}"]
    name = line.words.word()
    first.container = {"container": {"id": container_id, "image": {"name": image, "tag": tag}, "name": name}}
    line.wait(500, 4_000)
    line.execute(first, line.words.program("/usr/bin/dash /bin/sh /docker-entrypoint.sh serve"))
    for _ in range(line.rng.randrange(1, 4)):
        line.wait(500, 5_000)
        line.end(line.run(first, line.words.tool()))
    line.execute(first, line.words.program("/usr/local/bin/node node /app/<word>/server.js"))
    line.file(first, "creation", path=line.words.text("/app/<word>/<word>.pid"))
    line.wait(100_000, 3_000_000)
    line.end(first, line.rng.choice((0, 0, 137)))
    line.end(keeper)
    return None


def health_check(line: Timeline) -> None:
    """A monitoring job probes a port of another host."""
    parent = line.machine.services["agent"]
    target = internal_service(line.rng)
    command = f"nc -z -w 2 {target.name} {target.port}"
    check = line.run(parent, shell(line.machine.host.image.shell, command))
    line.wait(300, 2_000)
    probe = line.run(check, SampleProgram("/usr/bin/nc", tuple(command.split())))
    line.wait(300, 2_000)
    line.exchange(probe, target, 500, 9_000)
    line.end(probe)
    line.end(check)


def wait_for_local_port(line: Timeline) -> None:
    """A start script waits for a local service through the shell's /dev/tcp, and starts a shell itself."""
    parent = line.machine.services["init"]
    here = loopback(line.rng)
    command = f"/usr/bin/bash bash /usr/local/bin/wait-for-it localhost:{here.port}"
    script = line.run(parent, line.words.program(command))
    line.wait(500, 4_000)
    line.connect(script, here)
    line.wait(500, 40_000)
    inner = line.fork(script)
    line.wait(500, 4_000)
    line.end(inner)
    line.end(script)


def relay(line: Timeline) -> None:
    """A `socat` relay connects to another host; it has no children."""
    parent = line.machine.services["init"]
    target = internal_service(line.rng)
    command = f"/usr/bin/socat socat TCP-LISTEN:{target.port},reuseaddr TCP:{target.name}:{target.port}"
    process = line.run(parent, line.words.program(command))
    line.wait(2_000, 50_000)
    line.exchange(process, target, 50_000, 900_000)
    line.end(process)


def connecting_tool(line: Timeline) -> None:
    """A user or a service runs a tool that connects to another host."""
    services = line.machine.services
    parent = line.rng.choice((*line.machine.sessions, services["cron"], services["agent"]))
    tool = line.run(parent, line.words.connecting_tool())
    remote = service_of_the_internet(line.rng) if line.rng.random() < 0.5 else internal_service(line.rng)
    line.wait(900, 9_000)
    line.look_up(tool, remote)
    line.wait(900, 30_000)
    line.exchange(tool, remote, 9_000, 900_000)
    line.end(tool)


def incoming_requests(line: Timeline) -> None:
    """Clients connect to a service of this host, which connects to others."""
    services = line.machine.services
    for _ in range(line.rng.randrange(1, 5)):
        process, port = _server(line)
        origin = client(line.rng, port)
        line.accept(process, origin)
        line.wait(400, 20_000)
        if line.rng.random() < 0.5:
            behind = internal_service(line.rng) if line.rng.random() < 0.8 else loopback(line.rng)
            line.connect(services.get("php", process), behind)
            line.wait(900, 60_000)
        if line.rng.random() < 0.4:
            line.disconnect(process, origin)


def agent_traffic(line: Timeline) -> None:
    """The agent sends its events and fetches its policy."""
    for key in ("beat", "agent"):
        process = line.machine.services[key]
        remote = Endpoint("es-01.example.internal", "10.40.1.1", 9200 if key == "beat" else 8220)
        line.exchange(process, remote, 20_000, 900_000)


def name_lookups(line: Timeline) -> None:
    """The resolver looks names up."""
    for _ in range(line.rng.randrange(1, 4)):
        line.look_up(line.machine.services["resolved"], service_of_the_internet(line.rng))
        line.wait(1_000, 90_000)


def service_files(line: Timeline) -> None:
    """Services write their files: segments of a log, pages of a cache, temporary files."""
    services = line.machine.services
    places = table("linux_service_files", 2)
    here = [(services[key], pattern) for key, pattern in places if key in services]
    for _ in range(line.rng.randrange(2, 7)):
        process, pattern = line.rng.choice(here)
        path = line.words.text(pattern)
        if line.rng.random() < 0.3:
            line.file(process, "creation", path=f"{path}.tmp")
            line.wait(200, 5_000)
            line.file(process, "rename", path=path, original=f"{path}.tmp")
        else:
            line.file(process, line.rng.choice(("creation", "creation", "modification", "deletion")), path=path)
        line.wait(1_000, 300_000)


def log_rotation(line: Timeline) -> None:
    """A timer rotates logs."""
    root = line.machine.services["init"]
    process = line.run(root, line.words.program("/usr/sbin/logrotate /usr/sbin/logrotate /etc/logrotate.conf"))
    for _ in range(line.rng.randrange(2, 6)):
        path = line.words.text("/var/log/<word>/<word>.log")
        line.wait(500, 9_000)
        line.file(process, "rename", path=f"{path}.1", original=path)
        line.file(process, "creation", path=path)
    line.end(line.run(process, line.words.program("/usr/bin/gzip gzip /var/log/<word>/<word>.log.2")))
    line.end(process)


def identity_change(line: Timeline) -> None:
    """A session runs one command as root."""
    session = line.rng.choice(line.machine.sessions)
    tool = line.words.tool()
    process = line.run(session, SampleProgram("/usr/bin/sudo", ("sudo", *tool.args)))
    line.wait(900, 9_000)
    process.user = linux_user("root", 0)
    line.add_process(process, "uid_change", types=["change"])
    line.add_process(process, "gid_change", types=["change"])
    line.wait(900, 9_000)
    line.end(line.run(process, tool))
    line.end(process)


def _server(line: Timeline) -> tuple[Process, int]:
    services = line.machine.services
    ports = (("nginx", 443), ("apache", 80), ("postgres", 5432), ("mariadb", 3306), ("gunicorn", 8000), ("java", 8080))
    here = [(services[key], port) for key, port in ports if key in services]
    here.append((services["exporter"], 9100))
    return line.rng.choice(here)


PROCESS_ACTIVITIES: tuple[LinuxActivity, ...] = (
    interactive_commands, interactive_commands, interactive_commands, subshell, subshell, cron_job, cron_job, login,
    lookalike, package_installation, build, build, container, container, identity_change,
)  # fmt: skip
NETWORK_ACTIVITIES: tuple[LinuxActivity, ...] = (
    incoming_requests, incoming_requests, incoming_requests, connecting_tool, agent_traffic, name_lookups, health_check,
    wait_for_local_port, relay,
)  # fmt: skip
FILE_ACTIVITIES: tuple[LinuxActivity, ...] = (service_files, service_files, service_files, service_files, log_rotation)
