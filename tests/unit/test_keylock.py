"""The lock of a key: waited for, told about, given up when cancelled."""

from __future__ import annotations

import os
import threading

import pytest

from prewarm.cancellation import Cancellation
from prewarm.catalog.keylock import holding, key_lock
from prewarm.catalog.records import Place
from prewarm.errors import InterruptedBuildError
from prewarm.home import Home
from prewarm.key import TemplateKey


def test_a_free_lock_is_held_at_once_and_nobody_is_told(tmp_path):
    told: list[str] = []
    with holding(Home(tmp_path), "k", cancellation=Cancellation(), waiting=told.append):
        assert told == []


def test_who_waits_hears_once_who_holds_it_and_then_gets_it(tmp_path):
    home, told, got = Home(tmp_path), [], threading.Event()
    asked = threading.Event()

    def hear(holder: str) -> None:
        told.append(holder)
        asked.set()

    def wait() -> None:
        with holding(home, "k", cancellation=Cancellation(), waiting=hear):
            got.set()

    with home.lock("k"):
        waiter = threading.Thread(target=wait)
        waiter.start()
        assert asked.wait(60)
        assert not got.wait(0.5)
    waiter.join(60)
    assert got.is_set()
    assert told == [f"process {os.getpid()}"]


def test_a_cancellation_ends_the_waiting(tmp_path):
    home, cancellation = Home(tmp_path), Cancellation()
    wait = holding(home, "k", cancellation=cancellation, waiting=lambda _: cancellation.cancel())
    with home.lock("k"), pytest.raises(InterruptedBuildError), wait:
        pass


def test_a_failure_inside_frees_the_lock(tmp_path):
    home = Home(tmp_path)
    wait = holding(home, "k", cancellation=Cancellation(), waiting=lambda _: None)
    with pytest.raises(TimeoutError, match="mine"), wait:
        raise TimeoutError("mine")
    with home.lock("k", timeout=0):
        pass


def test_the_longest_names_make_a_file_name_that_every_disk_takes():
    place = Place(backend="b" * 63, key=TemplateKey("a" * 64))
    assert len(key_lock("n" * 63, place)) <= 255
