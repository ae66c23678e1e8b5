"""Ordinary activity of Windows hosts. Both rules require Linux, so nothing here can match them."""

from __future__ import annotations

from collections.abc import Callable

from runner.sample_data.addresses import client, internal_service, service_of_the_internet
from runner.sample_data.catalogues import catalogue, table
from runner.sample_data.document_sections import signature_for
from runner.sample_data.fleet import Section
from runner.sample_data.processes import Process, SampleProgram
from runner.sample_data.timeline import Timeline

WindowsActivity = Callable[[Timeline], None]

SYSTEM32 = "C:\\Windows\\System32\\"


def tool(line: Timeline) -> None:
    """A user, a task or a service runs a small program."""
    services = line.machine.services
    parent = line.rng.choice((*line.machine.sessions, services["svchost"], services["schedule"]))
    for _ in range(line.rng.randrange(1, 4)):
        name, text = line.rng.choice(table("windows_tools", 2))
        process = line.start(parent, _program(line, SYSTEM32 + name, text=text))
        line.wait(5_000, 400_000)
        if line.rng.random() < 0.3:
            line.file(process, "creation", path=line.words.text("C:\\Windows\\Temp\\<word>-<hex>.tmp"))
        line.end(process)
        line.wait(50_000, 900_000)


def application(line: Timeline) -> None:
    """A user opens an application, which starts helper processes and connects."""
    session = line.rng.choice(line.machine.sessions)
    path = line.rng.choice(catalogue("windows_applications"))
    app = line.start(session, _program(line, path, text=""))
    for kind in ("gpu-process", "utility", "renderer")[: line.rng.randrange(0, 4)]:
        line.wait(10_000, 200_000)
        line.start(app, _program(line, path, text=f"--type={kind} --field-trial-handle=<n> --lang=en-GB"))
    remote = service_of_the_internet(line.rng)
    line.look_up(app, remote)
    line.wait(1_000, 60_000)
    line.connect(app, remote)
    line.file(app, "creation", path=line.words.text("C:\\Users\\Public\\AppData\\Local\\<word>\\Cache\\f_<hex>"))
    line.wait(100_000, 3_000_000)
    line.end(app)


def outgoing_connections(line: Timeline) -> None:
    """A service of this host connects to others."""
    services = line.machine.services
    process = line.rng.choice((services["svchost"], services["agent"], services["defender"], services["lsass"]))
    for _ in range(line.rng.randrange(1, 4)):
        remote = service_of_the_internet(line.rng) if line.rng.random() < 0.5 else internal_service(line.rng)
        line.look_up(services["dnscache"], remote)
        line.exchange(process, remote, 20_000, 900_000)


def incoming_connections(line: Timeline) -> None:
    """Clients connect to a service of this host."""
    services = line.machine.services
    process, port = services.get("sqlservr", services["svchost"]), 1433 if "sqlservr" in services else 445
    for _ in range(line.rng.randrange(1, 4)):
        origin = client(line.rng, port)
        line.accept(process, origin)
        line.wait(1_000, 300_000)
        line.disconnect(process, origin)


def file_changes(line: Timeline) -> None:
    """Services and applications write files."""
    services = line.machine.services
    for _ in range(line.rng.randrange(2, 6)):
        process = services[line.rng.choice(("svchost", "search", "agent", "defender", "spooler"))]
        path = line.words.text(line.rng.choice(catalogue("windows_files")))
        if line.rng.random() < 0.25:
            line.file(process, "rename", path=path, original=f"{path}.new")
        else:
            line.file(process, line.rng.choice(("creation", "creation", "overwrite", "deletion")), path=path)
        line.wait(1_000, 300_000)


def registry_changes(line: Timeline) -> None:
    """A service changes its settings in the registry."""
    services = line.machine.services
    process = services[line.rng.choice(("svchost", "installer", "schedule", "wmi"))]
    for _ in range(line.rng.randrange(1, 4)):
        hive, value, pattern = line.rng.choice(table("windows_registry_keys", 3))
        key, name = line.words.text(pattern), line.words.text(value)
        data_type = "REG_DWORD" if line.rng.random() < 0.5 else "REG_SZ"
        if data_type == "REG_DWORD":
            strings = [str(line.rng.randrange(9_999))]
        else:
            strings = [line.words.text("C:\\ProgramData\\<word>\\<word>.exe")]
        registry: Section = {
            "data": {"strings": strings, "type": data_type},
            "hive": hive,
            "key": key,
            "path": f"{hive}\\{key}\\{name}",
            "value": name,
        }
        _other(line, process, stream="registry", action="modification", types=["change"], extra={"registry": registry})
        line.wait(500, 90_000)


def library_loads(line: Timeline) -> None:
    """A program loads libraries."""
    process = line.rng.choice((*line.machine.sessions, line.machine.services["wmi"], line.machine.services["svchost"]))
    for _ in range(line.rng.randrange(1, 4)):
        name = line.rng.choice(catalogue("windows_libraries"))
        path = SYSTEM32 + name
        library: Section = {
            "Ext": {"code_signature": [signature_for(name)], "load_index": line.rng.randrange(1, 9)},
            "code_signature": signature_for(name),
            "hash": line.machine.hashes_for(path),
            "name": name,
            "path": path,
            "pe": {"imphash": line.machine.hashes_for(name)["md5"], "original_file_name": name},
        }
        _other(line, process, stream="library", action="load", types=["start"], extra={"dll": library})
        line.wait(200, 20_000)


def logon(line: Timeline) -> None:
    """A user logs on."""
    process = line.machine.services["lsass"]
    line.add(
        process,
        "security",
        action="log_on",
        types=["start"],
        sections={"process": process.brief, "source": {"ip": client(line.rng, 445).address}},
    )


def _program(line: Timeline, path: str, *, text: str) -> SampleProgram:
    return SampleProgram(path, (path, *line.words.text(text).split()))


def _other(line: Timeline, process: Process, *, stream: str, action: str, types: list[str], extra: Section) -> None:
    section = {
        **process.brief,
        "code_signature": signature_for(process.program.name),
        "thread": {"id": line.rng.randrange(250, 4_000) * 4},
    }
    line.add(process, stream, action=action, types=types, sections={"process": section, **extra})


PROCESS_ACTIVITIES: tuple[WindowsActivity, ...] = (tool, tool, application)
NETWORK_ACTIVITIES: tuple[WindowsActivity, ...] = (outgoing_connections, outgoing_connections, incoming_connections)
FILE_ACTIVITIES: tuple[WindowsActivity, ...] = (file_changes,)
OTHER_ACTIVITIES: tuple[WindowsActivity, ...] = (registry_changes,) * 2 + (library_loads,) * 2 + (logon,)
