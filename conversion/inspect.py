"""What is in a bundle: its card, its operators, its sizes and its graph, as text."""

from __future__ import annotations

import collections
import dataclasses
import gzip
import json
import os
import pathlib
from typing import Any

from conversion import flatbuffer
from conversion.flatbuffer import Graph, Tensor
from edge_ser import bundle


def inspect(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Everything as JSON values: card, sizes, operators, ends and graph.

    Args:
        path: of a bundle, or the name of one that ships.

    Raises:
        BundleError: the bundle is refused.
    """
    file = pathlib.Path(bundle.located(path))
    checked = bundle.read(path)
    graph = flatbuffer.read(checked.model)
    counts = collections.Counter(f"{o.name} {o.version}" for o in graph.operators)
    weights = sum(
        tensor.constant.nbytes
        for tensor in graph.tensors
        if tensor.constant is not None
    )
    return {
        "path": str(file),
        "sha256": checked.sha256,
        "signed_by": checked.signature.key_id if checked.signature else None,
        "card": dataclasses.asdict(checked.card),
        "file_bytes": file.stat().st_size,
        "model_bytes": len(checked.model),
        "compressed_bytes": len(gzip.compress(checked.model, 9, mtime=0)),
        "weight_bytes": weights,
        "macs": graph.macs,
        "zero_fraction": flatbuffer.zero_fraction(graph),
        "operators": dict(sorted(counts.items())),
        "graph": _nodes(graph),
    }


def _nodes(graph: Graph) -> list[dict[str, Any]]:
    numbers = {id(tensor): index for index, tensor in enumerate(graph.tensors)}

    def told(tensor: Tensor) -> dict[str, Any]:
        return {
            "tensor": numbers[id(tensor)],
            "name": tensor.name.split(";")[0],
            "shape": list(tensor.shape),
            "dtype": tensor.dtype,
            "stored": tensor.constant is not None,
            "scale": tensor.scales[0] if len(tensor.scales) == 1 else None,
            "zero_point": tensor.zero_points[0] if tensor.zero_points else None,
        }

    return [
        {
            "operator": operator.name,
            "version": operator.version,
            "macs": operator.macs,
            "inputs": [told(t) for t in operator.inputs if t is not None],
            "outputs": [told(t) for t in operator.outputs],
        }
        for operator in graph.operators
    ]


def as_text(found: dict[str, Any]) -> str:
    """For people: the card's fields, the sizes, the operators, then the graph."""
    card = found["card"]
    features = card.pop("features")
    calibration = card.pop("calibration")
    clips = calibration.get("clips", ())
    lines = [f"{'file':18}{found['path']}"]
    lines += [f"{key:18}{_value(value)}" for key, value in card.items()]
    lines.append(f"{'features':18}{_value(features)}")
    told = f"{calibration.get('windows', 0)} windows of {len(clips)} clips"
    lines.append(f"{'calibration':18}{told}")
    lines += [
        f"{'sha256':18}{found['sha256']}",
        f"{'signed by':18}{found['signed_by'] or 'nobody'}",
        f"{'file':18}{found['file_bytes']:,} bytes",
        f"{'model part':18}{found['model_bytes']:,} bytes, "
        f"{found['compressed_bytes']:,} compressed, "
        f"{found['weight_bytes']:,} of weights",
        f"{'multiplications':18}{found['macs'] / 1e6:.2f} million a window",
        f"{'zeros':18}{found['zero_fraction']:.1%} of the kernels",
        "",
        "operators",
    ]
    lines += [f"  {count:4} {name}" for name, count in found["operators"].items()]
    lines += ["", "graph"]
    for node in found["graph"]:
        inputs = ", ".join(_tensor(t) for t in node["inputs"])
        outputs = ", ".join(_tensor(t) for t in node["outputs"])
        lines.append(f"  {node['operator']} {node['version']}: {inputs} -> {outputs}")
    return "\n".join(lines)


def _tensor(told: dict[str, Any]) -> str:
    shape = "x".join(map(str, told["shape"])) or "scalar"
    mark = "=" if told["stored"] else "%"
    return f"{mark}{told['tensor']} {told['dtype']}[{shape}]"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
