"""A trained nnU-Net as a function from an image to labels, in memory and in one process."""

from __future__ import annotations

import pydoc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evaluation.segmenters.interface import LabelArray
from synthct.errors import InputError, MemoryLimitError, WeightsError
from synthct.memory import is_out_of_memory
from synthct.nnunet.checkpoint import load_checkpoint
from synthct.nnunet.model_files import ModelFiles, model_labels

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["SegmentationNetwork"]

LAYER_MODULES = ("torch.nn.", "dynamic_network_architectures.")
"""Where the classes that plans.json names may come from."""

Triple = tuple[float, float, float]


class SegmentationNetwork:
    """Network, plans and device.

    The network is built from the plans, as nnU-Net's default trainer and its NoMirroring variants build it; the search
    for the trainer's class would import all of nnU-Net's training code.

    Args:
        files: the model.
        device: auto, cpu or cuda.

    Raises:
        WeightsError: a file is damaged, the files do not fit one another, or the network needs more than one image.
        UsageError: cuda was asked for and there is none.
    """

    def __init__(self, files: ModelFiles, device: str) -> None:
        from synthct.inference.engine import choose_device

        self._files = files
        self._heads = len(model_labels(files)) + 1
        self._device = choose_device(device)
        with files.open_checkpoint() as stream:
            checkpoint = load_checkpoint(stream, files.checkpoint_path)
        with _quiet_libraries():
            from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

            try:
                self._plans = PlansManager(files.plans)
                self._configuration = self._plans.get_configuration(checkpoint["init_args"]["configuration"])
                self._patch = tuple(int(edge) for edge in self._configuration.patch_size)
                self._preprocessor = self._find_preprocessor()
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                raise WeightsError(
                    f"{files.plans_path}: does not fit {files.checkpoint_path} ({type(error).__name__}: {error})"
                ) from error
            self._require_one_image()
            self._network = self._build()
        try:
            self._network.load_state_dict(checkpoint["network_weights"])
        except (RuntimeError, TypeError, AttributeError) as error:
            reason = str(error).splitlines()[-1].strip()[:200]
            raise WeightsError(
                f"{files.checkpoint_path}: does not fit the network of {files.plans_path} ({reason})"
            ) from error
        self._network = self._network.eval().to(self._device)

    def labels_of(
        self, voxels: npt.NDArray[Any], spacing: Triple, advance: Callable[[int, int], None] | None = None
    ) -> LabelArray:
        """Segment an image.

        Args:
            voxels: image as the model was trained on, (z, y, x); HU for CT.
            spacing: distance of voxel centres in mm, (z, y, x).
            advance: called after each window with (windows done, windows in all).

        Returns:
            Labels (z, y, x) of the same shape.

        Raises:
            InputError: the image, without borders of 0, is thinner than half a voxel of the network.
            MemoryLimitError: the work does not fit into memory.
            WeightsError: the network's output is NaN or infinite.
        """
        self._require_extent(voxels, spacing)
        with _quiet_libraries():
            data, _, properties = self._preprocessor.run_case_npy(
                voxels[None], None, {"spacing": list(spacing)}, self._plans, self._configuration, self._files.dataset
            )
            cropped = self._labels_on_cpu_if_need_be(np.ascontiguousarray(data), properties, spacing, advance)
        whole = np.zeros(properties["shape_before_cropping"], np.uint8)
        whole[tuple(slice(first, end) for first, end in properties["bbox_used_for_cropping"])] = cropped
        return np.ascontiguousarray(whole.transpose(self._plans.transpose_backward))

    def _require_extent(self, voxels: npt.NDArray[Any], spacing: Triple) -> None:
        """nnU-Net cuts borders of 0 away and would then resample to a size of 0."""
        wanted = list(self._configuration.spacing)
        order = list(self._plans.transpose_forward)[-len(wanted) :]
        for axis, target in zip(order, wanted, strict=True):
            used = np.flatnonzero(voxels.any(axis=tuple(other for other in range(3) if other != axis)))
            extent = float(used[-1] - used[0] + 1) * spacing[axis] if used.size else target
            if round(extent / target) < 1:
                raise InputError(
                    f"image of {voxels.shape} voxels (z, y, x) measures {extent:.3g} mm along axis {axis}, borders "
                    f"of 0 left out; expected more than half a voxel of the network, {target / 2:g} mm"
                )

    def _labels_on_cpu_if_need_be(
        self,
        data: npt.NDArray[np.float32],
        properties: dict[str, Any],
        spacing: Triple,
        advance: Callable[[int, int], None] | None,
    ) -> LabelArray:
        import torch

        try:
            return self._labels(data, properties, spacing, advance)
        except (RuntimeError, MemoryError) as error:
            on_device = isinstance(error, torch.OutOfMemoryError) and self._device.type != "cpu"
            if not is_out_of_memory(error):
                raise
            if not on_device:
                raise MemoryLimitError(
                    f"segmenting {data.shape[1:]} voxels (z, y, x) into {self._heads} labels does not fit into memory"
                ) from error
            warnings.warn(
                f"the memory of {self._device} is too small; segmenting on the CPU from here on", stacklevel=2
            )
        self._device = torch.device("cpu")
        self._network = self._network.to(self._device)
        torch.cuda.empty_cache()
        return self._labels(data, properties, spacing, advance)

    def _labels(
        self,
        data: npt.NDArray[np.float32],
        properties: dict[str, Any],
        spacing: Triple,
        advance: Callable[[int, int], None] | None,
    ) -> LabelArray:
        """Labels on the cropped image's grid, axes as the plans order them."""
        import torch

        from evaluation.segmenters.sweep import finished_slabs, first_largest

        slabs = finished_slabs(
            self._network,
            torch.from_numpy(data),
            patch=self._patch,
            channels=self._heads,
            device=self._device,
            advance=advance,
        )
        shape = properties["shape_after_cropping_and_before_resampling"]
        if tuple(shape) == data.shape[1:]:
            return np.concatenate([self._finite(first_largest(slab)) for slab in slabs])
        logits = torch.cat(list(slabs), dim=1)
        return self._finite(first_largest(self._resampled(logits, shape, spacing)))

    def _resampled(self, logits: Tensor, shape: tuple[int, ...], spacing: Triple) -> Iterator[Tensor]:
        """Logits on the image's grid, channel by channel: nnU-Net resamples each on its own anyway."""
        import torch

        wanted = [spacing[axis] for axis in self._plans.transpose_forward]
        current = list(self._configuration.spacing)
        if len(current) < len(shape):
            current = [wanted[0], *current]
        for channel in range(len(logits)):
            one = self._configuration.resampling_fn_probabilities(logits[channel : channel + 1], shape, current, wanted)
            yield torch.as_tensor(one)[0]

    def _finite(self, labels: LabelArray | None) -> LabelArray:
        if labels is None:
            raise WeightsError(
                f"{self._files.checkpoint_path}: its network gives NaN or infinite values for this image"
            )
        return labels

    def _find_preprocessor(self) -> Any:  # noqa: ANN401
        """nnU-Net's preprocessor that the plans name; also finds out whether their resampling functions exist."""
        from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

        configuration = self._configuration
        for function in (configuration.resampling_fn_data, configuration.resampling_fn_probabilities):
            if not callable(function):
                raise TypeError(f"{function} is no function")
        found = configuration.preprocessor_class
        if not (isinstance(found, type) and issubclass(found, DefaultPreprocessor)):
            raise TypeError(f"{configuration.preprocessor_name} is no preprocessor")
        return found(verbose=False)

    def _require_one_image(self) -> None:
        images = self._files.dataset.get("channel_names", self._files.dataset.get("modality", {}))
        if len(images) != 1:
            raise WeightsError(
                f"{self._files.dataset_path}: the network wants {len(images)} images; expected 1, the CT"
            )
        if self._configuration.previous_stage_name is not None:
            raise WeightsError(
                f"{self._files.plans_path}: the network wants the labels of {self._configuration.previous_stage_name} "
                "(a cascade); expected one that needs the CT alone"
            )

    def _build(self) -> nn.Module:
        from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

        configuration = self._configuration
        try:
            class_name = configuration.network_arch_class_name
            arguments = configuration.network_arch_init_kwargs
            imported = configuration.network_arch_init_kwargs_req_import
            for name in (class_name, *(arguments[key] for key in imported)):
                if name is not None:
                    self._require_layer(name)
            network: nn.Module = get_network_from_plans(
                class_name, arguments, imported, 1, self._heads, allow_init=False, deep_supervision=False
            )
        except (KeyError, TypeError, ValueError, AttributeError, ImportError, AssertionError) as error:
            raise WeightsError(f"{self._files.plans_path}: describes no network that can be built ({error})") from error
        return network

    def _require_layer(self, name: str) -> None:
        """The plans name classes that are then called with arguments of theirs: only layers may be called."""
        from torch import nn

        located = pydoc.locate(name) if name.startswith(LAYER_MODULES) else None
        if not (isinstance(located, type) and issubclass(located, nn.Module)):
            raise WeightsError(
                f"{self._files.plans_path}: names the class {name}; expected a layer of {' or '.join(LAYER_MODULES)}"
            )


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Silence what nnU-Net says about plans of older versions and about itself; our own warnings pass."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected old nnU-Net plans format")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"nnunetv2|batchgenerators|acvl_utils")
        yield
