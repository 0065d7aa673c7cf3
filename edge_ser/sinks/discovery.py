"""How the listener presents itself to Home Assistant (MQTT device discovery)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from edge_ser.decision import IDLE, UNCERTAIN


@dataclasses.dataclass(frozen=True)
class Topics:
    """The topics of one listener.

    >>> Topics("edge-ser", "Living room").state
    'edge-ser/living_room/state'
    """

    prefix: str
    device: str

    @property
    def id(self) -> str:
        """The device's name as topics and entity ids can hold it."""
        return re.sub(r"[^a-z0-9]+", "_", self.device.lower()).strip("_") or "device"

    @property
    def event(self) -> str:
        """Every event, none of them retained."""
        return f"{self.prefix}/{self.id}/event"

    @property
    def state(self) -> str:
        """The newest event, retained."""
        return f"{self.prefix}/{self.id}/state"

    @property
    def attributes(self) -> str:
        """What Home Assistant shows beside the emotion, retained."""
        return f"{self.prefix}/{self.id}/attributes"

    @property
    def availability(self) -> str:
        """``online`` or ``offline``, retained."""
        return f"{self.prefix}/{self.id}/availability"

    @property
    def mute(self) -> str:
        """``ON`` or ``OFF``, retained."""
        return f"{self.prefix}/{self.id}/mute"

    @property
    def mute_order(self) -> str:
        """Where ``ON`` and ``OFF`` are taken."""
        return f"{self.mute}/set"


def discovery_payload(
    topics: Topics, labels: Sequence[str], *, model: str, version: str
) -> dict[str, Any]:
    """The retained message that makes three entities: emotion, confidence, mute.

    https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload

    Args:
        labels: of the model; ``uncertain`` and ``idle`` are added, since an enum
            sensor must list every state that it can take.
        model: name and version of the bundle.
        version: of edge-ser.
    """
    unique = f"edge_ser_{topics.id}"
    return {
        "device": {
            "identifiers": [unique],
            "name": topics.device,
            "manufacturer": "edge-ser",
            "model": model,
            "sw_version": version,
        },
        "origin": {"name": "edge-ser", "sw_version": version},
        "availability_topic": topics.availability,
        "components": {
            "emotion": {
                "platform": "sensor",
                "name": "Emotion",
                "unique_id": f"{unique}_emotion",
                "default_entity_id": f"sensor.{topics.id}_emotion",
                "device_class": "enum",
                "options": [*labels, UNCERTAIN, IDLE],
                "icon": "mdi:emoticon-outline",
                "state_topic": topics.state,
                "value_template": "{{ value_json.label }}",
                "json_attributes_topic": topics.attributes,
            },
            "confidence": {
                "platform": "sensor",
                "name": "Confidence",
                "unique_id": f"{unique}_confidence",
                "default_entity_id": f"sensor.{topics.id}_confidence",
                "unit_of_measurement": "%",
                "state_class": "measurement",
                "icon": "mdi:gauge",
                "state_topic": topics.state,
                "value_template": "{{ (value_json.confidence * 100) | round(1) }}",
            },
            "mute": {
                "platform": "switch",
                "name": "Mute",
                "unique_id": f"{unique}_mute",
                "default_entity_id": f"switch.{topics.id}_mute",
                "icon": "mdi:microphone-off",
                "state_topic": topics.mute,
                "command_topic": topics.mute_order,
                "payload_on": "ON",
                "payload_off": "OFF",
            },
        },
    }
