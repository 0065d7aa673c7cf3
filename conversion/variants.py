"""The variants of a model: how its weights are prepared, and how it computes."""

from __future__ import annotations

import dataclasses

from conversion.errors import ConversionError

FEWER_MACS = 0.4
"""The share of multiplications that the slim variant saves at least."""
MIN_CALIBRATION_WINDOWS = 16


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to a smaller model."""

    name: str
    arithmetic: str
    """``float32``, ``float16``, ``dynamic-range`` or ``int8``."""
    about: str
    sparsity: float | None = None
    """Share of weights that become zero; None is the recipe's own."""
    pruned: bool = False
    aware: bool = False
    """Fine-tuned with quantization in place."""
    slim: bool = False
    """Without its least important channels."""

    @property
    def is_int8(self) -> bool:
        """Whether nothing in it computes in float."""
        return self.arithmetic == "int8"

    @property
    def is_fine_tuned(self) -> bool:
        """Whether making it takes more training."""
        return self.pruned or self.aware or self.slim

    def zeros(self, recipe: float) -> float | None:
        """Share of weights that become zero, where the recipe says `recipe`."""
        if not self.pruned:
            return None
        return recipe if self.sparsity is None else self.sparsity


ALL = (
    Variant("float32", "float32", "as it was trained"),
    Variant("float16", "float16", "weights stored in half precision"),
    Variant("dynamic-range", "dynamic-range", "int8 weights, float arithmetic"),
    Variant("int8", "int8", "full int8 by post-training quantization"),
    Variant("int8-qat", "int8", "full int8, trained quantization-aware", aware=True),
    Variant("int8-pruned", "int8", "as the recipe says, 50 % zeros", pruned=True),
    Variant("int8-pruned-80", "int8", "80 % zeros", pruned=True, sparsity=0.8),
    Variant(
        "int8-pqat",
        "int8",
        "pruned, then trained quantization-aware with its zeros kept",
        pruned=True,
        aware=True,
    ),
    Variant(
        "int8-slim",
        "int8",
        "40 % fewer multiplications: whole channels gone",
        slim=True,
    ),
)
BY_NAME = {variant.name: variant for variant in ALL}
SHIPPED = ("float32", "int8", "int8-pruned")
"""What is made if nothing else is asked for."""


def chosen(names: list[str] | tuple[str, ...]) -> list[Variant]:
    """Variants by name, each once; ``all`` stands for all of them.

    Raises:
        ConversionError: an unknown name.
    """
    wanted = [n for name in names for n in (BY_NAME if name == "all" else [name])]
    for name in wanted:
        if name not in BY_NAME:
            raise ConversionError(
                f"unknown variant {name!r}; valid: {', '.join(BY_NAME)}, all"
            )
    return [BY_NAME[name] for name in dict.fromkeys(wanted)]
