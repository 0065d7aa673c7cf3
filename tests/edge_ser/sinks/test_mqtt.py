"""Against a real mosquitto that is killed and started again."""

import json
import queue
import re
import socket
import subprocess
import time

import pytest

from broker import MOSQUITTO, Broker
from edge_ser.errors import ConfigError, SinkError
from edge_ser.mute import MuteSwitch
from edge_ser.sinks.outlet import Outlet

paho = pytest.importorskip(
    "paho.mqtt.client", reason="paho-mqtt is not installed: pip install .[mqtt]"
)
from paho.mqtt.enums import CallbackAPIVersion  # noqa: E402

from edge_ser.sinks.mqtt import MqttSettings, MqttSink  # noqa: E402

LABELS = ("happy", "sad")

pytestmark = pytest.mark.skipif(
    MOSQUITTO is None, reason="needs a broker: apt install mosquitto"
)


class Watcher:
    """What a subscriber sees."""

    def __init__(self, port, **login):
        self.messages = queue.Queue()
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        if login:
            self.client.username_pw_set(**login)
        self.client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self.client.on_message = lambda _c, _d, m: self.messages.put(
            (m.topic, m.payload.decode(), m.retain)
        )
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def wait(self, topic, payload=None, seconds=15.0):
        end = time.monotonic() + seconds
        while True:
            seen = self.messages.get(timeout=max(0.01, end - time.monotonic()))
            if seen[0] == topic and payload in (None, seen[1]):
                return seen[1]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path, "allow_anonymous true")
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def watch(broker):
    watchers = []

    def begin(**login):
        watchers.append(Watcher(broker.port, **login))
        return watchers[-1]

    yield begin
    for watcher in watchers:
        watcher.close()


@pytest.fixture
def connect(broker):
    sinks = []

    def begin(mute=None, **settings):
        sink = MqttSink(
            MqttSettings(**({"host": "127.0.0.1", "port": broker.port} | settings)),
            device="Kitchen 1",
            labels=LABELS,
            model="tiny 1",
            mute=mute or MuteSwitch(),
        )
        sink._client.reconnect_delay_set(1, 1)
        sinks.append(sink)
        return sink

    yield begin
    for sink in sinks:
        if not sink._client._thread_terminate:
            sink.close()


def until(condition, seconds=15.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "never happened"
        time.sleep(0.01)


BASE = "edge-ser/kitchen_1"


def test_discovery_has_what_home_assistant_requires(connect, watch):
    watcher = watch()
    connect()
    payload = json.loads(watcher.wait("homeassistant/device/edge_ser_kitchen_1/config"))
    assert payload["device"]["identifiers"]
    assert payload["device"]["name"] == "Kitchen 1"
    assert payload["origin"]["name"] == "edge-ser"
    assert payload["availability_topic"] == f"{BASE}/availability"
    parts = payload["components"]
    assert {name: part["platform"] for name, part in parts.items()} == {
        "emotion": "sensor",
        "confidence": "sensor",
        "mute": "switch",
    }
    assert len({part["unique_id"] for part in parts.values()}) == 3
    for part in parts.values():
        domain, _, _ = part["default_entity_id"].partition(".")
        assert domain == part["platform"]
        assert part["state_topic"]
    assert parts["emotion"]["device_class"] == "enum"
    assert set(parts["emotion"]["options"]) == {*LABELS, "uncertain", "idle"}
    assert parts["emotion"]["json_attributes_topic"] == f"{BASE}/attributes"
    assert parts["mute"]["command_topic"] == f"{BASE}/mute/set"
    assert watcher.wait(f"{BASE}/availability") == "online"
    assert json.loads(watcher.wait(f"{BASE}/state"))["label"] == "idle"


def test_late_subscribers_see_state_and_availability(connect, watch, make_event):
    sink = connect()
    until(lambda: sink._connected)
    sink.send(make_event(label="sad"))
    watcher = watch()
    end = time.monotonic() + 10
    while json.loads(watcher.wait(f"{BASE}/state"))["label"] != "sad":
        assert time.monotonic() < end
    sink.close()
    watcher.wait(f"{BASE}/availability", "offline")
    assert sink.undelivered == 0


def test_killed_and_restarted_broker_gets_every_event_in_order(
    connect, broker, watch, make_event
):
    sink = connect()
    until(lambda: sink._connected)
    sink.send(make_event(time_s=0))
    until(lambda: not (sink._settle() or sink._in_flight))
    broker.kill()
    until(lambda: not sink._connected)
    for number in range(1, 21):
        sink.send(make_event(time_s=number))
    broker.start()
    watcher = watch()
    seen = []
    # Those sent before the subscriber came are gone, as MQTT has it; the rest is in
    # order, and the retained state is the newest.
    until(lambda: sink._connected and not (sink._settle() or sink._in_flight))
    for number in range(21, 31):
        sink.send(make_event(time_s=number))
    while not seen or seen[-1] != make_event(time_s=30).time:
        seen.append(json.loads(watcher.wait(f"{BASE}/event"))["time"])
    assert seen == sorted(seen)
    assert len(seen) >= 10
    sink.close()
    assert sink.undelivered == 0


def test_the_will_tells_that_the_listener_died(connect, watch):
    watcher = watch()
    sink = connect()
    watcher.wait(f"{BASE}/availability", "online")
    until(lambda: sink._connected)
    sink._client.reconnect_delay_set(60, 60)
    sink._client.socket().shutdown(socket.SHUT_RDWR)  # as when the power fails
    watcher.wait(f"{BASE}/availability", "offline")


def test_a_backlog_that_overflows_is_counted(broker, connect, make_event):
    broker.kill()
    sink = connect(backlog=5)
    lost = 0
    for number in range(12):
        try:
            sink.send(make_event(time_s=number))
        except SinkError:
            lost += 1
    assert lost == 7
    sink.close()
    assert sink.undelivered == 5


def test_mute_by_mqtt_is_confirmed(connect, watch):
    watcher = watch()
    mute = MuteSwitch()
    connect(mute)
    watcher.wait(f"{BASE}/mute", "OFF")
    watcher.client.publish(f"{BASE}/mute/set", "ON")
    watcher.wait(f"{BASE}/mute", "ON")
    assert mute.muted
    mute.set(False)
    watcher.wait(f"{BASE}/mute", "OFF")


def test_user_and_password(tmp_path, make_event):
    passwords = tmp_path / "passwords"
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", passwords, "ear", "secret"], check=True
    )
    passwords.chmod(0o644)
    broker = Broker(tmp_path, f"password_file {passwords}", "allow_anonymous false")
    broker.start()
    secret = tmp_path / "secret"

    def connects(password):
        secret.write_text(password + "\n")
        settings = MqttSettings(
            host="127.0.0.1",
            port=broker.port,
            user="ear",
            password_file=str(secret),
        )
        sink = MqttSink(
            settings, device="a", labels=LABELS, model="m", mute=MuteSwitch()
        )
        end = time.monotonic() + (10 if password == "secret" else 1)
        while not sink._connected and time.monotonic() < end:
            time.sleep(0.02)
        connected = sink._connected
        sink.close()
        return connected

    try:
        assert connects("secret")
        assert not connects("wrong")
    finally:
        broker.kill()


class Authority:
    """A certificate authority, and a broker's certificate that it has signed."""

    def __init__(self, folder, host):
        folder.mkdir()
        self.certificate = folder / "ca.pem"
        self._folder = folder
        self._openssl("req", "-x509", "-subj", "/CN=authority", *self._key("ca"))
        self._openssl("req", "-subj", f"/CN={host}", *self._key("broker"))
        (folder / "names").write_text(f"subjectAltName={host}\n")
        self._openssl(
            *("x509", "-req", "-in", "broker.pem", "-extfile", "names"),
            *("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "2", "-out", "signed.pem"),
        )

    @staticmethod
    def _key(name):
        new = ("-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key")
        return (*new, "-out", f"{name}.pem")

    def _openssl(self, *arguments):
        subprocess.run(
            ["openssl", *arguments], cwd=self._folder, check=True, capture_output=True
        )

    def lines(self):
        """What a broker's settings say."""
        return (
            f"certfile {self._folder / 'signed.pem'}",
            f"keyfile {self._folder / 'broker.key'}",
        )


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    folder = tmp_path_factory.mktemp("authorities")
    return {
        "right": Authority(folder / "right", "IP:127.0.0.1"),
        "other": Authority(folder / "other", "IP:127.0.0.1"),
        "other host": Authority(folder / "host", "DNS:elsewhere.example"),
    }


# paho does not close the socket of a handshake that failed.
@pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")
@pytest.mark.parametrize(
    ("serves", "trusts", "password", "complaint"),
    [
        ("right", "right", "secret", None),
        ("right", "right", "wrong", "refused: Not authorized"),
        ("right", "other", "secret", "certificate verify failed"),
        ("other host", "other host", "secret", "certificate verify failed"),
    ],
)
def test_tls_with_user_and_password(
    tmp_path, authorities, make_event, caplog, serves, trusts, password, complaint
):
    passwords = tmp_path / "passwords"
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", passwords, "ear", "secret"], check=True
    )
    passwords.chmod(0o644)
    broker = Broker(
        tmp_path,
        *authorities[serves].lines(),
        f"password_file {passwords}",
        "allow_anonymous false",
    )
    settings = MqttSettings(
        host="127.0.0.1",
        port=broker.port,
        tls=True,
        ca_file=str(authorities[trusts].certificate),
        user="ear",
        password=password,
    )
    broker.start()
    caplog.set_level("INFO", logger="edge_ser")
    try:
        sink = MqttSink(
            settings, device="a", labels=LABELS, model="m", mute=MuteSwitch()
        )
        outlet = Outlet(sink)
        for number in range(3):
            outlet.put(make_event(time_s=number))
        until(lambda: (complaint or "connected") in caplog.text)
        outlet.finish(patience_s=0 if complaint else 10)
        assert outlet.join(time.monotonic() + 15)
    finally:
        broker.kill()
    delivered, lost = (0, 3) if complaint else (3, 0)
    assert (outlet.delivered, outlet.lost) == (delivered, lost)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"port": 0}, "mqtt.port is 0"),
        ({"backlog": 0}, "mqtt.backlog is 0"),
        ({"prefix": ""}, "mqtt.prefix is empty"),
        ({"prefix": "home/#"}, "mqtt.prefix is 'home/#'"),
        ({"discovery_prefix": "+"}, "mqtt.discovery_prefix is '+'"),
        ({"ca_file": "/no/ca.pem"}, "tls"),
        ({"tls": True, "ca_file": "/no/ca.pem"}, "'/no/ca.pem'"),
        ({"user": "ear", "password_file": "/no/password"}, "'/no/password'"),
        ({"password": "secret"}, "mqtt.user is missing"),
        ({"password_file": "/no/password"}, "mqtt.user is missing"),
    ],
)
def test_wrong_settings(settings, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        MqttSink(
            MqttSettings(host="127.0.0.1", **settings),
            device="a",
            labels=LABELS,
            model="m",
            mute=MuteSwitch(),
        )


def test_a_host_that_no_resolver_takes_is_told(connect, caplog):
    sink = connect(host="home..local")
    with caplog.at_level("WARNING", "edge_ser"):
        until(lambda: "cannot be reached" in caplog.text)
    assert sink._client._thread.is_alive()  # it goes on trying


def test_the_mute_switch_shows_what_is_even_if_told_too_late(connect, watch):
    mute, watcher = MuteSwitch(), watch()
    sink = connect(mute)
    until(lambda: sink._connected)
    mute.set(True)
    watcher.wait(f"{BASE}/mute", "ON")
    sink._on_mute(False)  # of a thread that was overtaken
    assert watcher.wait(f"{BASE}/mute") == "ON"


def test_two_of_a_name_are_told_once(connect, caplog):
    with caplog.at_level("INFO", "edge_ser"):
        sinks = [connect(), connect()]
        until(lambda: all(sink._cut_short > 3 for sink in sinks), 40)
    told = [record.getMessage() for record in caplog.records]
    assert sum("is another listener called 'Kitchen 1'?" in each for each in told) == 2
    assert len(told) <= 14  # three connections each, three ends, and why
