"""The sections of a document that differ from event to event: process, network and file."""

from __future__ import annotations

from random import Random

from runner.sample_data.addresses import Endpoint
from runner.sample_data.catalogues import entries
from runner.sample_data.fleet import SampleHost, Section
from runner.sample_data.machine_state import Machine
from runner.sample_data.processes import Process, leader_section

MICROSOFT = "Microsoft Windows"
SERVICE_CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_PTRACE"]


def linux_process_section(machine: Machine, process: Process, *, rng: Random) -> Section:
    """The whole `process` section of a Linux process event."""
    program = process.program
    section: Section = {
        "Ext": {"ancestry": process.ancestry},
        "args": list(program.args),
        "args_count": len(program.args),
        "command_line": program.command_line,
        "entity_id": process.entity_id,
        "entry_leader": process.entry_leader.as_entry(),
        "executable": program.executable,
        "group_leader": leader_section(process.group_leader, process),
        "hash": machine.hashes_for(program.executable),
        "interactive": process.interactive,
        "name": program.name,
        "pid": process.pid,
        "session_leader": leader_section(process.session_leader, process),
        "start": process.started,
        "user": process.user.brief,
        "working_directory": process.directory,
    }
    if process.parent is not None:
        section["parent"] = process.parent.as_parent
    if (before := process.previous) is not None:
        args = list(before.args)
        section["previous"] = [{"args": args, "args_count": len(args), "executable": before.executable}]
    if process.interactive:
        section["tty"] = {"char_device": {"major": 136, "minor": process.session_leader.pid % 8}}
    if process.user.id == "0" and rng.random() < 0.25:
        section["thread"] = {"capabilities": {"effective": SERVICE_CAPABILITIES, "permitted": SERVICE_CAPABILITIES}}
    return section


def windows_process_section(machine: Machine, process: Process, *, rng: Random) -> Section:
    """The whole `process` section of a Windows process event."""
    program = process.program
    signature = signature_for(program.name)
    elevated = process.user.id.startswith("S-1-5-1")
    section: Section = {
        "Ext": {
            "ancestry": process.ancestry,
            "authentication_id": "0x3e7" if elevated else f"0x{0x10000 + process.pid:x}",
            "code_signature": [signature],
            "relative_file_creation_time": rng.randrange(10_000, 90_000_000_000) / 1_000,
            "session_info": {"id": 0 if elevated else 1, "logon_type": "Service" if elevated else "Interactive"},
            "token": {
                "elevation": elevated,
                "elevation_level": "full" if elevated else "limited",
                "integrity_level_name": "system" if elevated else "medium",
            },
        },
        "args": list(program.args),
        "args_count": len(program.args),
        "code_signature": signature,
        "command_line": program.command_line,
        "entity_id": process.entity_id,
        "executable": program.executable,
        "hash": machine.hashes_for(program.executable),
        "name": program.name,
        "pe": {"imphash": machine.hashes_for(program.name)["md5"], "original_file_name": program.name},
        "pid": process.pid,
        "start": process.started,
        "thread": {"id": rng.randrange(250, 4_000) * 4},
        "working_directory": "C:\\Windows\\system32\\" if elevated else f"C:\\Users\\{process.user.name}\\",
    }
    if process.parent is not None:
        signed_by = signature_for(process.parent.program.name)
        section["parent"] = {
            **process.parent.as_parent,
            "Ext": {"code_signature": [signed_by]},
            "code_signature": signed_by,
        }
    return section


def signature_for(name: str) -> Section:
    """The code signature of a Windows program or library."""
    subject = entries("windows_signers").get(name, MICROSOFT)
    if not subject:
        return {"exists": False}
    return {"exists": True, "status": "trusted", "subject_name": subject, "trusted": True}


def connection_sections(host: SampleHost, remote: Endpoint, *, action: str | list[str], rng: Random) -> Section:
    """The source, destination and network sections of an event of a connection with `remote`.

    The source is the end that opened the connection: `remote` where it has a local port, else this host.
    """
    six = ":" in remote.address
    here = remote.address if remote.address in ("127.0.0.1", "::1") else host.address6 if six else host.address
    incoming = remote.local_port != 0
    far: Section = {"address": remote.address, "ip": remote.address, "port": remote.port}
    near: Section = {"address": here, "ip": here, "port": remote.local_port or rng.randrange(32_768, 60_999)}
    if action == "disconnect_received":
        far["bytes"] = rng.randrange(60, 90_000)
        near["bytes"] = rng.randrange(60, 40_000)
    return {
        "destination": near if incoming else far,
        "network": {
            "direction": "ingress" if incoming else "egress",
            "transport": "tcp",
            "type": "ipv6" if six else "ipv4",
        },
        "source": far if incoming else near,
    }


def file_section(host: SampleHost, path: str, *, original: str, rng: Random) -> Section:
    """The `file` section of an event about the file at `path`, renamed from `original` if that is given."""
    slash = "/" if host.linux else "\\"
    name = path[path.rfind(slash) + 1 :]
    extra: Section = {}
    if original:
        before = original[original.rfind(slash) + 1 :]
        extra["original"] = {"extension": before[before.rfind(".") + 1 :], "name": before, "path": original}
    section: Section = {"Ext": extra, "name": name, "path": path, "size": rng.randrange(40, 900_000)}
    if host.linux:
        if not original:
            del section["Ext"]
    else:
        extra["entropy"] = rng.randrange(1_000, 7_999) / 1_000
        extra["header_bytes"] = f"{rng.getrandbits(128):032x}"
        extra["monotonic_id"] = rng.randrange(1_000, 4_000_000)
    if "." in name[1:]:
        section["extension"] = name[name.rfind(".") + 1 :]
    return section
