"""A sink that fails, hangs or is slow: everything is delivered or counted."""

import threading
import time

import pytest

from edge_ser.errors import SinkError
from edge_ser.sinks.outlet import Outlet


class Gathering:
    """Keeps what it gets; may be told to fail or wait."""

    name = "test sink"
    undelivered = 0

    def __init__(self):
        self.got, self.failing, self.may_go = [], None, threading.Event()
        self.may_go.set()
        self.closed = False

    def send(self, event):
        self.may_go.wait(20)
        if self.failing is not None:
            raise self.failing
        self.got.append(event.time_s)

    def close(self):
        self.closed = True


@pytest.fixture
def sink():
    return Gathering()


def soon(seconds=2.0):
    return time.monotonic() + seconds


def test_in_order(sink, make_event):
    outlet = Outlet(sink)
    for number in range(50):
        outlet.put(make_event(time_s=number))
    outlet.close(soon())
    assert sink.got == list(range(50))
    assert (outlet.delivered, outlet.lost, sink.closed) == (50, 0, True)


def test_failures_are_counted_and_told_once(sink, make_event, caplog):
    outlet = Outlet(sink)
    sink.failing = SinkError("disk full")
    for number in range(20):
        outlet.put(make_event(time_s=number))
    outlet.close(soon())
    assert (outlet.delivered, outlet.lost) == (0, 20)
    assert caplog.text.count("disk full") == 1


def test_a_fault_in_a_sink_is_a_loss_too(sink, make_event, caplog):
    outlet = Outlet(sink)
    sink.failing = ZeroDivisionError()
    outlet.put(make_event())
    outlet.close(soon())
    assert outlet.lost == 1


def test_a_slow_sink_loses_the_oldest(sink, make_event):
    sink.may_go.clear()
    outlet = Outlet(sink, capacity=4)
    begun = time.monotonic()
    for number in range(30):
        outlet.put(make_event(time_s=number))
    assert time.monotonic() - begun < 0.5
    sink.may_go.set()
    outlet.close(soon())
    assert sink.got[-3:] == [27, 28, 29]
    assert outlet.delivered + outlet.lost == 30
    assert outlet.delivered == len(sink.got)


def test_a_hanging_sink_cannot_hold_up_the_end(sink, make_event):
    sink.may_go.clear()
    outlet = Outlet(sink)
    for number in range(3):
        outlet.put(make_event(time_s=number))
    begun = time.monotonic()
    outlet.close(begun + 0.2)
    assert time.monotonic() - begun < 1
    assert outlet.lost == 3
    sink.may_go.set()


def test_waiting_for_room_loses_nothing(sink, make_event):
    outlet = Outlet(sink, capacity=2)
    for number in range(200):
        outlet.put(make_event(time_s=number), wait=True)
    outlet.close(soon())
    assert outlet.delivered == 200


def test_nobody_reads_any_more(sink, make_event):
    outlet = Outlet(sink)
    sink.failing = SinkError("closed", final=True)
    outlet.put(make_event())
    end = soon()
    while not outlet.gone:
        assert time.monotonic() < end
        time.sleep(0.005)
    outlet.put(make_event(), wait=True)
    outlet.close(soon())
