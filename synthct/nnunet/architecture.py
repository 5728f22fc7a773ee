"""From plans.json to the plan of a network that we build ourselves: no class that a file names is ever looked up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from synthct.errors import WeightsError
from synthct.networks.unet import UNetPlan
from synthct.nnunet.configuration import Configuration

__all__ = ["Upsampling", "read_unet_plan"]

Upsampling = Literal["trilinear", "transposed"]

KINDS = {"PlainConvUNet": "plain", "ResidualEncoderUNet": "hybrid", "ResidualUNet": "residual"}
"""Class of dynamic-network-architectures, by its last name: modules moved between releases."""
CLASS_PREFIX = "dynamic_network_architectures."
SHAPE_KEYS = ("n_stages", "features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage_decoder")
OLD_KEYS = ("UNet_class_name", "n_conv_per_stage_encoder", "n_conv_per_stage_decoder", "conv_kernel_sizes")
CONVOLUTIONS = ("torch.nn.modules.conv.Conv3d", "torch.nn.Conv3d")
NORMS = ("torch.nn.modules.instancenorm.InstanceNorm3d", "torch.nn.InstanceNorm3d")
ACTIVATIONS = ("torch.nn.LeakyReLU", "torch.nn.modules.activation.LeakyReLU")
IGNORED = ("deep_supervision",)
"""Deep supervision changes the training alone; its extra outputs stand in the checkpoint either way."""


def read_unet_plan(
    configuration: Configuration,
    *,
    input_channels: int = 1,
    output_channels: int = 1,
    upsampling: Upsampling = "transposed",
) -> UNetPlan:
    """Read the architecture of a configuration.

    Both formats are read: today's `architecture` (a class and its arguments) and that of the first releases
    (`UNet_class_name`, `UNet_base_num_features` ...), which TotalSegmentator's models have.

    Args:
        configuration: of plans.json.
        input_channels: images that the network takes; plans.json does not say.
        output_channels: of the last layer; plans.json does not say.
        upsampling: of the decoder; nnU-Net's own is transposed, that of the translation fork trilinear.

    Raises:
        WeightsError: the network is two-dimensional, a cascade's second stage, of an unknown class, or has something
            that UNetPlan cannot hold (dropout, another norm or activation, bottleneck blocks).
    """
    if (previous := configuration.content.get("previous_stage")) is not None:
        raise configuration.refusal("previous_stage", previous, "nothing: a network that needs the image alone")
    if "architecture" in configuration.content:
        described = _new_format(configuration)
    elif all(key in configuration.content for key in OLD_KEYS):
        described = _old_format(configuration)
    else:
        raise configuration.refusal("architecture", None, "a class name and its arguments")
    shape = {"upsampling": upsampling, "input_channels": input_channels, "output_channels": output_channels}
    try:
        return UNetPlan.model_validate(described | shape)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise WeightsError(
            f"{configuration.where}: {configuration.name}: describes no network that can be built "
            f"({key + ': ' if key else ''}{first['msg']})"
        ) from error


def _new_format(configuration: Configuration) -> dict[str, Any]:
    architecture = configuration.content["architecture"]
    if not isinstance(architecture, Mapping) or not isinstance(architecture.get("arch_kwargs"), Mapping):
        raise configuration.refusal("architecture", architecture, "network_class_name and arch_kwargs")
    kind = _kind(configuration, "network_class_name", architecture.get("network_class_name"))
    arguments = {key: value for key, value in architecture["arch_kwargs"].items() if key not in IGNORED}
    blocks = "n_conv_per_stage" if kind == "plain" else "n_blocks_per_stage"
    for key in (*SHAPE_KEYS, blocks):
        if key not in arguments:
            raise configuration.refusal(f"arch_kwargs.{key}", None, "a value")
    stages = _whole_number(configuration, "n_stages", arguments["n_stages"])
    _require_house_layers(configuration, arguments, known=(*SHAPE_KEYS, blocks))
    features = arguments["features_per_stage"]
    return {
        "kind": kind,
        "features": [features] * stages if isinstance(features, int) else features,
        "kernels": _triples(configuration, "kernel_sizes", arguments["kernel_sizes"], stages),
        "strides": _triples(configuration, "strides", arguments["strides"], stages),
        "encoder_blocks": _counts(arguments[blocks]),
        "decoder_blocks": _counts(arguments["n_conv_per_stage_decoder"]),
    }


def _old_format(configuration: Configuration) -> dict[str, Any]:
    """The first releases left out what was always the same: bias, instance norm, leaky ReLU, no dropout."""
    content = configuration.content
    kind = _kind(configuration, "UNet_class_name", CLASS_PREFIX + str(content["UNet_class_name"]))
    kernels = content["conv_kernel_sizes"]
    stages = len(kernels) if isinstance(kernels, list) else 0
    base = _whole_number(configuration, "UNet_base_num_features", content.get("UNet_base_num_features"))
    most = _whole_number(configuration, "unet_max_num_features", content.get("unet_max_num_features"))
    return {
        "kind": kind,
        "features": [min(base * 2**stage, most) for stage in range(stages)],
        "kernels": _triples(configuration, "conv_kernel_sizes", kernels, stages),
        "strides": _triples(configuration, "pool_op_kernel_sizes", content.get("pool_op_kernel_sizes"), stages),
        "encoder_blocks": _counts(content["n_conv_per_stage_encoder"]),
        "decoder_blocks": _counts(content["n_conv_per_stage_decoder"]),
    }


def _kind(configuration: Configuration, key: str, name: object) -> str:
    last = str(name).rpartition(".")[2]
    if not isinstance(name, str) or not name.startswith(CLASS_PREFIX) or last not in KINDS:
        raise configuration.refusal(key, name, f"{', '.join(KINDS)} of {CLASS_PREFIX.rstrip('.')}")
    return KINDS[last]


def _require_house_layers(
    configuration: Configuration, arguments: Mapping[str, Any], *, known: tuple[str, ...]
) -> None:
    """Refuse every argument whose effect UNetPlan's networks do not have."""
    stem = _first(arguments["features_per_stage"])
    accepted: dict[str, tuple[object, ...]] = {
        "conv_op": CONVOLUTIONS,
        "conv_bias": (True,),
        "norm_op": NORMS,
        "dropout_op": (None,),
        "dropout_op_kwargs": (None, {}),
        "nonlin": ACTIVATIONS,
        "nonlin_first": (False,),
        "stem_channels": (None, stem),
        "bottleneck_channels": (None,),
        "block": ("dynamic_network_architectures.building_blocks.residual.BasicBlockD",),
    }
    for key in ("conv_op", "conv_bias", "norm_op", "nonlin"):
        if key not in arguments:
            raise configuration.refusal(f"arch_kwargs.{key}", None, str(accepted[key][0]))
    for key, value in arguments.items():
        if key in known:
            continue
        if key == "norm_op_kwargs":
            norm = value if isinstance(value, Mapping) else {}
            fits = norm.get("affine") is True and norm.get("eps", 1e-5) == 1e-5 and norm.keys() <= {"affine", "eps"}
            wanted = "eps 1e-05 and affine True"
        elif key == "nonlin_kwargs":
            slope = value if isinstance(value, Mapping) else {}
            fits = value is None or (
                slope.get("negative_slope", 0.01) == 0.01 and slope.keys() <= {"inplace", "negative_slope"}
            )
            wanted = "a negative slope of 0.01"
        else:
            choices = accepted.get(key)
            fits = choices is not None and value in choices
            wanted = "no such argument" if choices is None else " or ".join(str(choice) for choice in choices)
        if not fits:
            raise configuration.refusal(f"arch_kwargs.{key}", value, wanted)
    if "norm_op_kwargs" not in arguments:
        raise configuration.refusal("arch_kwargs.norm_op_kwargs", None, "eps 1e-05 and affine True")


def _triples(configuration: Configuration, key: str, value: object, stages: int) -> list[list[int]]:
    """One (z, y, x) for each stage, from any of nnU-Net's short forms."""
    entries = [value] * stages if isinstance(value, int) else value
    if not isinstance(entries, list):
        raise configuration.refusal(key, value, "a list with (z, y, x) for each stage")
    triples = [[entry] * 3 if isinstance(entry, int) else entry for entry in entries]
    for triple in triples:
        if not isinstance(triple, list) or len(triple) != 3:
            raise configuration.refusal(key, triple, "three numbers (z, y, x): a network of three dimensions")
    return triples


def _counts(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _first(value: object) -> object:
    return value[0] if isinstance(value, list) and value else value


def _whole_number(configuration: Configuration, key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 10000:
        raise configuration.refusal(key, value, "a positive whole number")
    return value
