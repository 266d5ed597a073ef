"""The pump between the engine's socket and the pipes: exact bytes, both streams, both directions."""

import os
import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.backends.docker.pump import Frames, Pump


def frame(stream, data):
    return struct.pack(">BxxxL", stream, len(data)) + data


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=12),
    st.lists(st.integers(1, 30), min_size=1, max_size=20),
)
def test_frames_come_apart_wherever_they_are_cut(parts, cuts):
    data = b"".join(frame(stream, part) for stream, part in parts)
    frames = Frames(terminal=False)
    got = {False: b"", True: b""}
    position = 0
    while position < len(data):
        for cut in cuts:
            for is_error, part in frames.feed(data[position : position + cut]):
                got[is_error] += part
            position += cut

    assert got[False] == b"".join(part for stream, part in parts if stream == 1)
    assert got[True] == b"".join(part for stream, part in parts if stream == 2)


def test_a_terminal_has_no_frames():
    assert Frames(terminal=True).feed(b"\x01\x00abc") == [(False, b"\x01\x00abc")]


class Wired:
    def __init__(self, *, stdin=False, early=b""):
        self.engine, ours = socket.socketpair()
        self.out, out = os.pipe()
        self.err, err = os.pipe()
        given, self.stdin = os.pipe() if stdin else (None, None)
        self.pump = Pump(ours, early, terminal=False, stdin=given, outputs=(out, err), touch=lambda: None)

    def close(self):
        self.pump.stop()
        self.engine.close()
        for descriptor in (self.out, self.err):
            os.close(descriptor)


@pytest.fixture
def wired():
    made = Wired()
    yield made
    made.close()


def read_all(descriptor):
    data = b""
    while chunk := os.read(descriptor, 65536):
        data += chunk
    return data


def test_both_streams_end_with_the_socket(wired):
    wired.engine.sendall(frame(1, b"out") + frame(2, b"err"))
    wired.engine.close()

    assert read_all(wired.out) == b"out"
    assert read_all(wired.err) == b"err"
    assert wired.pump.ended.wait(60)


def test_bytes_that_came_with_the_answer_are_not_lost():
    wired = Wired(early=frame(1, b"early"))
    wired.engine.close()

    assert read_all(wired.out) == b"early"
    wired.close()


def test_one_stream_can_be_read_while_nobody_reads_the_other(wired):
    def send():
        wired.engine.sendall(frame(2, b"e" * 300_000) + frame(1, b"out"))
        wired.engine.close()

    sender = threading.Thread(target=send)
    sender.start()

    assert read_all(wired.out) == b"out" if wired.pump.ended.is_set() else os.read(wired.out, 10) == b"out"
    assert len(read_all(wired.err)) == 300_000
    sender.join()


def test_standard_input_arrives_whole_and_its_end_too():
    wired = Wired(stdin=True)
    data = os.urandom(400_000)

    def feed():
        view = memoryview(data)
        while view:
            view = view[os.write(wired.stdin, view) :]
        os.close(wired.stdin)

    feeder = threading.Thread(target=feed)
    feeder.start()
    got = b""
    while chunk := wired.engine.recv(65536):
        got += chunk
    feeder.join()

    assert got == data
    wired.close()


def test_stopping_twice_is_fine(wired):
    wired.pump.stop()
    wired.pump.stop()

    assert wired.pump.ended.is_set()
