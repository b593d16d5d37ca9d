"""A second device on a machine that has none: ``cuda`` is the CPU, but its tensors are marked.

As with a GPU, marked tensors can't become NumPy arrays before ``cpu()``, and can't be mixed with tensors of the CPU,
single numbers apart. A storage is marked when a tensor is moved or made there, or computed from marked ones. Tensors
without elements have no storage, so what is computed from them alone may be mixed with anything.
"""

from typing import Any, Self

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE, CPU = torch.device("cuda", 0), torch.device("cpu")
MIXED = {"copy_", "__get__", "__set__", "to", "set_", "_has_compatible_shallow_copy_type", "__getitem__", "__setitem__"}
"""What may be given tensors of both: copies, attributes, and indices."""


class SecondDevice(TorchFunctionMode):
    """Within, ``cuda`` is a device of this machine."""

    def __init__(self) -> None:
        super().__init__()
        self.marked: dict[int, Any] = {}
        """Storages by address; they are kept, so that no address comes again."""
        self.unknown: dict[int, Any] = {}
        """Those computed from tensors without elements."""

    def __contains__(self, tensor: Tensor) -> bool:
        return self.among(self.marked, tensor)

    def among(self, storages: dict[int, Any], tensor: Tensor) -> bool:
        """Whether the tensor's storage is one of these."""
        with torch._C.DisableTorchFunction():
            return tensor.numel() > 0 and tensor.untyped_storage().data_ptr() in storages

    def mark(self, storages: dict[int, Any], value: Any) -> None:
        """Add the storages of all tensors of a result."""
        with torch._C.DisableTorchFunction():
            for one in tree_leaves(value):
                if isinstance(one, Tensor) and one.numel():
                    storages[one.untyped_storage().data_ptr()] = one.untyped_storage()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, options = getattr(func, "__name__", ""), dict(kwargs or {})
        tensors = [one for one in tree_leaves((args, options)) if isinstance(one, Tensor)]
        here = [one for one in tensors if one in self]
        if here and func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return DEVICE
        if name in ("_parse_to", "device"):
            return func(*args, **options)
        if name == "to" and len(args) > 1 and isinstance(args[1], Tensor):
            args = (args[0], DEVICE if args[1] in self else CPU, args[1].dtype)
            here = here[:1]
        asked = [one for one in tree_leaves((args, options)) if is_device(one)]
        moved = bool(asked) and torch.device(asked[-1]).type == "cuda"
        args, options = tree_map(lambda one: CPU if is_device(one) else one, (args, options))
        if name == "numpy" and here:
            raise TypeError("can't convert a tensor of the second device to numpy; use cpu() first")
        filled = [one for one in tensors if one.numel() and not self.among(self.unknown, one)]
        others = [one for one in filled if one not in self and one.dim() > 0]
        if here and others and name not in MIXED and not isinstance(tensors[0], nn.Parameter):
            raise RuntimeError(f"{name} was given tensors of two devices")
        result = func(*args, **options)
        leaves = [one for one in tree_leaves(result) if isinstance(one, Tensor)]
        if name == "cpu" or (name == "to" and asked and not moved):
            return tree_map(lambda one: one.clone() if isinstance(one, Tensor) and one in self else one, result)
        if moved and name == "to":
            result = result.clone() if result not in self else result
        if moved or (here and leaves):
            self.mark(self.marked, result)
        elif tensors and not filled:
            self.mark(self.unknown, result)
        return result


class Generator(torch.Generator):
    """A generator of any device, which draws on the CPU."""

    def __new__(cls, device: Any = None) -> Self:
        """Make it on the CPU."""
        return super().__new__(cls)


def pretend(patch: pytest.MonkeyPatch) -> SecondDevice:
    """The mode, with torch made to believe that there is CUDA."""
    patch.setattr(torch, "Generator", Generator)
    patch.setattr(torch.cuda, "is_available", lambda: True)
    return SecondDevice()


def is_device(value: Any) -> bool:
    """Whether a value names a device."""
    return isinstance(value, torch.device) or (isinstance(value, str) and value.partition(":")[0] in ("cuda", "cpu"))
