"""The tree of an alert's processes, and what these have started."""

from __future__ import annotations

from typing import Any

from runner.triage.process_chain import ProcessStep
from runner.web.host_events import host_event
from runner.web.process_tree import ProcessNode, process_tree, with_children


def step(name: str) -> ProcessStep:
    return ProcessStep(entity_id=name, name=name, in_match=name == "bash")


def event(id_: str, parent: str, action: str = "exec", **process: Any) -> Any:
    about = {"entity_id": id_, "name": id_, "pid": 7, "parent": {"entity_id": parent}, **process}
    return host_event({"event": {"category": ["process"], "action": action}, "process": about}, ())


def drawn(nodes: list[ProcessNode]) -> list[Any]:
    return [(node.step.name, drawn(node.children)) if node.children else node.step.name for node in nodes]


def test_what_chains_share_is_there_once() -> None:
    chains = [[step("init"), step("sshd"), step("bash")], [step("init"), step("sshd"), step("nc")], [step("cron")]]
    assert drawn(process_tree(chains)) == [("init", [("sshd", ["bash", "nc"])]), "cron"]
    alone = [[ProcessStep(pid=6, name="sh"), ProcessStep(pid=7, name="nc")], [ProcessStep(pid=6, name="sh")]]
    assert drawn(process_tree(alone)) == [("sh", ["nc"])]


def test_children_and_theirs_are_added_under_who_started_them() -> None:
    tree = process_tree([[step("sshd"), step("bash")]])
    events = [
        event("a", "bash", "fork", name="bash"),
        event("a", "bash", command_line="curl http://203.0.113.77"),
        event("b", "a"),
        event("c", "elsewhere"),
        event("d", "sshd"),
        event("a", "bash", "end", command_line="ended"),
        event("bash", "sshd", command_line="of the alert itself"),
    ]
    assert with_children(tree, events)
    assert drawn(tree) == [("sshd", [("bash", [("a", ["b"])])])]
    curl = tree[0].children[0].children[0].step
    assert (curl.command_line, curl.pid, curl.found) == ("curl http://203.0.113.77", 7, True)
    assert tree[0].children[0].step.command_line == ""


def test_a_process_that_starts_thousands_does_not_make_a_tree_of_thousands() -> None:
    tree = process_tree([[step("bash")]])
    assert not with_children(tree, [event(f"p{number}", "bash") for number in range(500)])
    assert len(tree[0].children) == 100
