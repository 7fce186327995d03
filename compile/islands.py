"""A torch module in float16 or bfloat16, with float32 where 16 bits do not carry: sums, squares and what is divided by
them (norms, demodulation), softmax, and the places where pictures are looked up.

Torch's autocast is not used: its lists of ops differ between CPU and GPU, so that nothing measured on a CPU would hold
on a GPU; it sends products of float32 with float32 through 16 bits, where demodulation (a linear layer over squares)
overflows; it stores weights in float32 and converts them in every run; and what follows a sum stays in float32, which
doubles the memory traffic of whole networks. Here the rules are the same on every device and in every export:

- weights are stored in the low precision, those of norms over a batch or an instance in float32;
- inputs of many numbers (pictures, noise) enter in the low precision, those of few (boxes, latents) as they are;
- a product with weights is computed in the low precision if any of its factors has it, and in float32 otherwise;
- what is steep or sums up is computed and stays in float32, but a number for each channel takes the precision of the
  picture that it scales or shifts;
- all else is as torch promotes.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Function = Callable[..., Any]

PRODUCTS = {
    *("conv1d", "conv2d", "conv_transpose2d", "linear", "matmul", "rmatmul", "mm", "bmm", "addmm", "baddbmm", "einsum"),
    *("scaled_dot_product_attention", "multi_head_attention_forward"),
}
SUMS = {"sum", "mean", "softmax", "log_softmax", "cumsum", "prod"}
"""Take the type that they compute in and give, without a copy of their input in it."""
STEEP = {"square", "pow", "rpow", "sqrt", "rsqrt", "reciprocal", "exp", "log", "var", "std", "norm", "vector_norm"}
MANY = 64 * 64
"""Numbers of one sample."""
PLACES = {"linspace", "arange"}
NORMS = {"instance_norm", "group_norm", "layer_norm"}
ELEMENTWISE = {"add", "radd", "sub", "rsub", "mul", "rmul", "div", "truediv", "rtruediv"}


class LowPrecision(torch.nn.Module):
    """The module in `dtype` under the rules above; takes and gives what the module does, in float32.

    module: is changed, and must not be used after that
    """

    def __init__(self, module: torch.nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype = lowered(module, dtype), dtype

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = [x.to(self.dtype) if x.is_floating_point() and prod(x.shape[1:]) >= MANY else x for x in tensors]
        with Islands(self.dtype):
            given = self.module(*given)
        outputs = (given,) if isinstance(given, Tensor) else tuple(given)
        return tuple(x.float() if x.is_floating_point() else x for x in outputs)


def lowered(module: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """Weights and buffers in `dtype`, but for those of norms, whose statistics may not fit."""
    for part in module.modules():
        if not hasattr(part, "running_var"):
            for parameter in part.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
            for name, value in part.named_buffers(recurse=False):
                if value.is_floating_point():
                    setattr(part, name, value.to(dtype))
    return module


class Islands(TorchFunctionMode):
    def __init__(self, low: torch.dtype) -> None:
        super().__init__()
        self.low = low

    def __torch_function__(
        self, func: Function, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "").strip("_")
        if name in PLACES:
            return func(*args, **{k: torch.float32 if v is self.low else v for k, v in kwargs.items()})
        if self._meets(args, kwargs):
            if name == "batch_norm" and torch.compiler.is_exporting():
                return _scaled(*args, **kwargs)
            args, kwargs, back = self._cast(name, args, kwargs)
            return func(*args, **kwargs) if back is None else func(*args, **kwargs).to(back)
        return func(*args, **kwargs)

    def _cast(
        self, name: str, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Sequence[Any], dict[str, Any], torch.dtype | None]:
        """The arguments in the types that an op computes in, and the type that its result is to have, if another."""
        if name in PRODUCTS:
            return _in(self.low, args), _in(self.low, kwargs), None
        if name in SUMS:
            return args, {"dtype": torch.float32, **kwargs}, None
        if name in STEEP:
            return _in(torch.float32, args), _in(torch.float32, kwargs), None
        # Outside of exports, torch's own kernels of norms sum in float32.
        if name == "grid_sample" or (name in NORMS and torch.compiler.is_exporting()):
            return _in(torch.float32, args), _in(torch.float32, kwargs), args[0].dtype
        if name in ELEMENTWISE:
            return [x.to(self.low) if _per_channel(x) else x for x in args], kwargs, None
        return args, kwargs, None

    def _meets(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether any of the tensors is in the low precision."""
        return any(
            isinstance(x, Tensor) and x.dtype == self.low
            for given in (*args, *kwargs.values())
            for x in (given if isinstance(given, list | tuple) else (given,))
        )


def _in(dtype: torch.dtype, given: Any) -> Any:
    if isinstance(given, Tensor):
        return given.to(dtype) if given.is_floating_point() else given
    if isinstance(given, dict):
        return {name: _in(dtype, value) for name, value in given.items()}
    return type(given)(_in(dtype, x) for x in given) if isinstance(given, list | tuple) else given


def _per_channel(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype == torch.float32 and (x.ndim >= 3 and x.shape[-2:] == (1, 1))


def _scaled(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalisation with a scale and a shift that are worked out in float32 and fit the precision of x."""
    scale = torch.rsqrt(variance + eps) * (1.0 if weight is None else weight)
    shift = (0.0 if bias is None else bias) - mean * scale
    scale, shift = (factor.reshape(-1, *[1] * (x.ndim - 2)).to(x.dtype) for factor in (scale, shift))
    return x * scale + shift
