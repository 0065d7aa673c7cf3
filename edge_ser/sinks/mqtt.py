"""Events to an MQTT broker, with Home Assistant discovery (paho-mqtt 2, extra mqtt)."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import logging
import pathlib
import queue
import threading
import time
from collections.abc import Sequence
from typing import Any

from edge_ser import __version__
from edge_ser.decision import IDLE
from edge_ser.errors import ConfigError, SinkError
from edge_ser.event import Event
from edge_ser.mute import MuteSwitch
from edge_ser.sinks.discovery import Topics, discovery_payload

_log = logging.getLogger(__name__)

# For what is still on its way when the sink is closed, and for the last message.
_FAREWELL_S, _GOODBYE_S = 0.3, 0.1
# Beyond it events stay in the backlog, which is capped: paho's own queue is not.
_MOST_IN_FLIGHT = 1000
# So many connections in a row that lasted less than this are no accident.
_OFTEN, _LASTING_S = 3, 20.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class MqttSettings:
    """Which broker, and how."""

    host: str | None = None
    """None: no MQTT."""
    port: int | None = None
    """None: 8883 with TLS, 1883 without."""
    user: str | None = None
    password: str | None = None
    password_file: str | None = None
    """The password is its first line."""
    tls: bool = False
    ca_file: str | None = None
    """Whom to trust; None: the system's authorities."""
    cert_file: str | None = None
    key_file: str | None = None
    prefix: str = "edge-ser"
    """Topics begin with it."""
    discovery_prefix: str = "homeassistant"
    """Empty: no discovery."""
    backlog: int = 100
    """Events kept while the broker is away; then the oldest go."""

    def __post_init__(self) -> None:
        if self.port is not None and not 1 <= self.port <= 65535:
            raise ConfigError(f"mqtt.port is {self.port}; valid: 1 to 65535")
        if (self.password or self.password_file) and self.user is None:
            raise ConfigError("mqtt.user is missing; a password is sent with one only")
        if not 1 <= self.backlog <= 100_000:
            raise ConfigError(f"mqtt.backlog is {self.backlog}; valid: 1 to 100000")
        for name in ("prefix", "discovery_prefix"):
            text = getattr(self, name)
            # Inside paho's thread it would raise, and end the connection for good.
            if any(each in text for each in "+#\0"):
                raise ConfigError(
                    f"mqtt.{name} is {text!r}; valid: the beginning of a topic, "
                    "without + and #"
                )
        if not self.prefix:
            raise ConfigError("mqtt.prefix is empty; topics must begin with something")
        if not self.tls and (self.ca_file or self.cert_file or self.key_file):
            raise ConfigError("mqtt: ca_file, cert_file and key_file need tls = true")


class MqttSink:
    """A connection that is made, and made again, in the background.

    Events go to ``PREFIX/DEVICE/event`` (QoS 1, in order; a backlog survives a broker
    that is away). The current state is retained on ``PREFIX/DEVICE/state``.

    Raises:
        ConfigError: paho-mqtt is missing, or a TLS or password file cannot be read.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        device: str,
        labels: Sequence[str],
        model: str,
        mute: MuteSwitch,
    ) -> None:
        try:
            from paho.mqtt import client as paho
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise ConfigError(
                "mqtt needs paho-mqtt: pip install 'paho-mqtt>=2'"
            ) from error
        port = settings.port or (8883 if settings.tls else 1883)
        self.name = f"mqtt {settings.host}:{port}"
        self._settings = settings
        self._topics = Topics(settings.prefix, device)
        self._discovery = discovery_payload(
            self._topics, labels, model=model, version=__version__
        )
        self._mute = mute
        self._lock = threading.RLock()
        self._backlog: collections.deque[Event] = collections.deque()
        self._in_flight: set[int] = set()
        # paho holds a lock of its own when it tells of an acknowledgement: taking ours
        # there could wait for a sender that waits for paho's.
        self._acknowledged: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._connected = False
        self._last = Event(
            time_s=time.time(),
            label=IDLE,
            confidence=0.0,
            probabilities={},
            duration_s=0.0,
            device=device,
            model=model,
        )
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"edge-ser-{self._topics.id}"
        )
        self._authenticate()
        self._client.will_set(self._topics.availability, "offline", 1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.reconnect_delay_set(1, 30)
        # paho tells that a connection failed, but not why.
        self._reconnect = self._client.reconnect
        self._client.reconnect = self._connect  # type: ignore[method-assign]
        self._reason = ""
        self._warned: set[str] = set()
        self._connected_at_s = 0.0
        self._cut_short = 0
        mute.watch(self._on_mute)
        self._client.connect_async(settings.host or "", port, keepalive=30)
        self._client.loop_start()

    def _connect(self) -> Any:
        try:
            return self._reconnect()
        except (OSError, ValueError) as error:
            self._reason = str(error)
            # A name that no resolver takes is a ValueError, which would end paho's
            # thread for good.
            raise OSError(self._reason) from error

    def _authenticate(self) -> None:
        settings = self._settings
        password = settings.password
        try:
            if settings.password_file is not None:
                text = pathlib.Path(settings.password_file).read_text(encoding="utf-8")
                password = text.partition("\n")[0]
            if settings.tls:
                files = (settings.ca_file, settings.cert_file, settings.key_file)
                for path in filter(None, files):  # OpenSSL does not say which
                    pathlib.Path(path).open("rb").close()
                self._client.tls_set(*files)
        except (OSError, ValueError) as error:
            hint = ""
            if isinstance(error, PermissionError):
                hint = "; the service may read what the group audio may"
            raise ConfigError(f"mqtt: a file cannot be used: {error}{hint}") from error
        if settings.user is not None:
            self._client.username_pw_set(settings.user, password)

    @property
    def undelivered(self) -> int:
        """See `Sink.undelivered`; takes no time, whatever the connection does."""
        if self._lock.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self._lock.release()
        return len(self._in_flight) + len(self._backlog)

    def send(self, event: Event) -> None:
        """See `Sink.send`; never waits for the broker."""
        with self._lock:
            self._last = event
            self._backlog.append(event)
            if self._connected:
                self._flush()
            full = len(self._backlog) > self._settings.backlog
            if full:
                self._backlog.popleft()
        if full:
            raise SinkError(f"{self.name}: does not take events; the backlog is full")

    def close(self) -> None:
        """See `Sink.close`; waits a moment for acknowledgements."""
        self._mute.unwatch(self._on_mute)
        deadline_s = time.monotonic() + _FAREWELL_S
        while self.undelivered and time.monotonic() < deadline_s:
            if self._warned and not self._connected:
                break
            if self._connected and self._backlog:
                with self._lock:
                    self._flush()
            time.sleep(0.01)
        if self._connected:
            farewell = self._publish(self._topics.availability, "offline", qos=1)
            # If the broker goes away meanwhile, it sends the will itself.
            with contextlib.suppress(RuntimeError, ValueError):
                farewell.wait_for_publish(_GOODBYE_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, topic: str, payload: str, qos: int = 0) -> Any:
        return self._client.publish(topic, payload, qos, retain=True)

    def _settle(self) -> None:
        """Forget what the broker has acknowledged; the caller holds the lock."""
        while not self._acknowledged.empty():
            self._in_flight.discard(self._acknowledged.get())

    def _flush(self) -> None:
        """Hand the backlog to the connection, and show the newest state.

        The state is sent with QoS 0: after a reconnection it is sent afresh, and no
        older one that paho sends again can overtake it.
        """
        self._settle()
        while self._backlog and len(self._in_flight) < _MOST_IN_FLIGHT:
            event = self._backlog.popleft()
            sent = self._client.publish(self._topics.event, event.to_json(), 1)
            self._in_flight.add(sent.mid)
        values = self._last.to_dict()
        self._publish(
            self._topics.attributes,
            json.dumps(
                {
                    name: values[name]
                    for name in ("time", "probabilities", "duration_s", "model")
                }
            ),
        )
        self._publish(self._topics.state, self._last.to_json())

    def _on_connect(
        self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._warn(f"{self.name}: refused: {reason}")
            return
        if self._cut_short < _OFTEN:
            _log.info("%s: connected", self.name)
            self._warned.clear()
        self._connected_at_s = time.monotonic()
        prefix = self._settings.discovery_prefix
        with self._lock:
            self._client.subscribe(self._topics.mute_order, 1)
            if prefix:
                topic = f"{prefix}/device/edge_ser_{self._topics.id}/config"
                self._publish(topic, json.dumps(self._discovery), qos=1)
            self._publish(self._topics.availability, "online", qos=1)
            self._publish(self._topics.mute, _on_off(self._mute.muted))
            self._connected = True
            self._flush()

    def _on_connect_fail(self, _client: Any, _data: Any) -> None:
        self._warn(f"{self.name}: cannot be reached ({self._reason}); trying again")

    def _on_disconnect(
        self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        with self._lock:
            self._connected = False
        lasted_s = time.monotonic() - self._connected_at_s
        self._cut_short = self._cut_short + 1 if lasted_s < _LASTING_S else 0
        if reason.is_failure and self._cut_short >= _OFTEN:
            # A broker has one connection a client id: two of a name take it from each
            # other for ever.
            self._warn(
                f"{self.name}: cuts every connection short; is another listener called "
                f"{self._topics.device!r}? Give each a device_name of its own"
            )
        elif reason.is_failure:
            self._warn(f"{self.name}: disconnected: {reason}; trying again")

    def _warn(self, text: str) -> None:
        # Once: a broker that is away for a day must not fill the journal.
        if text not in self._warned:
            self._warned.add(text)
            _log.warning("%s", text)

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        order = message.payload.decode(errors="replace").strip().upper()
        if message.retain:
            return  # an order of long ago
        if order in ("ON", "OFF"):
            self._mute.set(order == "ON")
        else:
            _log.warning("%s: mute takes ON or OFF, not %r", self.name, order[:20])

    def _on_mute(self, _muted: bool) -> None:
        with self._lock:
            if self._connected:
                # As it is now: of two threads that switch, the later may come first.
                self._publish(self._topics.mute, _on_off(self._mute.muted))

    def _on_publish(
        self, _client: Any, _data: Any, mid: int, _reason: Any, _properties: Any
    ) -> None:
        self._acknowledged.put(mid)


def _on_off(value: bool) -> str:
    return "ON" if value else "OFF"
