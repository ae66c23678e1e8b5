"""Blocks of lines: every line once, with its number and its place, however the buffer cuts the text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.events.files.compression import OpenText
from runner.events.files.line_blocks import blocks_of
from runner.events.files.read_report import MAX_LINE


def unexpected(line: int, offset: int) -> None:
    pytest.fail(f"line {line} at {offset} was skipped")


@given(
    lines=st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b" ")), max_size=30),
    closed=st.booleans(),
    start=st.integers(1, 4),
    chunks=st.lists(st.integers(1, 64), min_size=1),
)
def test_every_line_is_found_once_at_its_place(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], closed: bool, start: int, chunks: list[int]
) -> None:
    text = b"\n".join(lines) + b"\n" * closed
    path = tmp_path_factory.mktemp("blocks") / "events.ndjson"
    path.write_bytes(b"#" * start + text)  # text alone may begin like a compressed file
    sizes = iter(chunks)
    found: list[bytes] = []
    breaks = 0
    with OpenText(str(path)) as file:
        file.go_to(start, None)
        for block in blocks_of(file, unexpected, first_line=7, offset=start, chunk=lambda: next(sizes, 16)):
            assert block.first_line == 7 + len(found)
            assert len(block.offsets) == len(block.lines) + 1
            assert block.offset == block.offsets[0]
            for line, first, end in zip(block.lines, block.offsets, block.offsets[1:], strict=False):
                place = first - start
                assert bytes(line) == text[place : place + len(line)]
                assert end - first == len(line) + block.is_whole
                found.append(bytes(line))
            breaks += len(block.lines) if block.is_whole else 0
    assert found == (text.removesuffix(b"\n").split(b"\n") if text else [])
    assert breaks == text.count(b"\n")


@pytest.mark.parametrize("excess", [0, 1, 5_000_000])
def test_lines_after_one_that_is_too_long_keep_their_places(tmp_path: Path, excess: int) -> None:
    path = tmp_path / "events.ndjson"
    with path.open("wb") as file:
        file.write(b"first\n")
        file.write(b"x" * (MAX_LINE + excess))
        file.write(b"\nthird\nfourth\nlast")
    text = path.read_bytes()
    skipped: list[tuple[int, int]] = []
    found: list[tuple[int, int, int, int]] = []
    with OpenText(str(path)) as opened:
        for block in blocks_of(opened, lambda line, offset: skipped.append((line, offset))):
            places = zip(block.lines, block.offsets.tolist(), block.offsets[1:].tolist(), strict=False)
            found.extend((block.first_line + n, len(line), *place) for n, (line, *place) in enumerate(places))
    third = text.index(b"third")
    second = [] if excess else [(2, MAX_LINE, 6, third)]
    assert skipped == ([(2, 6)] if excess else [])
    rest = [(3, 5, third, third + 6), (4, 6, third + 6, third + 13), (5, 4, third + 13, third + 17)]
    assert found == [(1, 5, 0, 6), *second, *rest]


RUNS = [b"\n" * 900, b"\n" * 5_000, b"\r\n" * 1_500, b"\0" * 3_000, b"\0" * 700, b" " * 4_000, b" \n\0\n" * 600, b"\n"]


@given(
    parts=st.lists(
        st.sampled_from(RUNS) | st.binary(min_size=1, max_size=300).map(lambda text: text + b"\n"), max_size=12
    ),
    chunks=st.lists(st.integers(1, 9_000), min_size=1),
)
def test_long_blank_runs_are_left_out_and_the_others_keep_their_places(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], chunks: list[int]
) -> None:
    text = b"#\n" + b"".join(parts) + b'{"last": 1}'
    path = tmp_path_factory.mktemp("blank") / "events.ndjson"
    path.write_bytes(text)
    sizes = iter(chunks)
    found, passed = [], [0]
    with OpenText(str(path)) as file:
        for block in blocks_of(file, unexpected, chunk=lambda: next(sizes, 4_096), passed=passed.append):
            for number, (line, place) in enumerate(zip(block.lines, block.offsets.tolist(), strict=False)):
                assert text[place : place + len(line)] == bytes(line)
                assert block.first_line + number == text.count(b"\n", 0, place) + 1
                found.append(bytes(line))
    blank = b"\0 \t\r\n"
    wanted = [line.lstrip(blank) for line in text.split(b"\n") if line.strip(blank)]
    assert [line.lstrip(blank) for line in found if line.strip(blank)] == wanted
    assert passed == sorted(passed)


@pytest.mark.parametrize("piece", [b"\n", b"\r\n", b"\0", b" "])
def test_blank_bytes_cost_next_to_nothing(tmp_path: Path, piece: bytes) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"first\n" + piece * ((48 << 20) // len(piece)) + b"last\n")
    with OpenText(str(path)) as file:
        lines = [bytes(line) for block in blocks_of(file, unexpected) for line in block.lines]
    assert len(lines) < 100_000
    assert [line.strip(b"\0 ") for line in lines if line.strip(b"\0 \r")] == [b"first", b"last"]
