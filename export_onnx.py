"""Write the ONNX files of a checkpoint, for ONNX Runtime and other programs that read ONNX:

    python export_onnx.py heatmapnet              # model.onnx and model-int8.onnx beside the weights
    python export_onnx.py runs/mine/checkpoint --only model.onnx

A keypoint network: input images (N, 1, S, S) float32 in the config's gray range; outputs keypoints (N, 68, 2)
and radius (N, 68) in the network's unit, confidence (N,) and visibility (N, 68), 0 to 1; what the network
does not estimate is NaN. A face finder: input images (1, 1, H, W) float32 in [0, 1], H and W multiples of 32;
outputs scores (1, H/8, W/8), 0 to 1, and boxes (1, 4, H/8, W/8) in pixels.

The convolutions of the int8 file have weights of 7 and activations of 8 bits, but for the last one of a face
finder, which stays float32; the ranges of the activations are measured on training images. The config then
holds the SHA-256 of both files.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from checkpoint import (
    ONNX_FILES,
    CheckpointError,
    FinderConfig,
    ModelConfig,
    find_checkpoint,
    load_checkpoint,
    load_config,
    load_face_finder,
    record_onnx,
)
from data_fetch import find_data
from data_load import SPLITS, FacialKeypointsDataset, load_split
from detector.face_finders import FINDER_OUTPUTS
from detector.predictor import (
    ONNX_OUTPUTS,
    box_matrix,
    crops_to_batch,
    keypoints_matrix,
    predict_keypoints,
)
from files import atomic_path, remove_leftovers, run_command
from geometry import whole_image_matrix
from models import FaceFinder
from training.composites import CompositeScenes
from training.own_network import load_model_file
from training.uncertainty import TRAINING_SCENES, no_face_boxes

CALIBRATION_IMAGES = 128
MIN_HALF_SIZE = 1024  # values; float16 saves next to nothing in smaller weights


class _Estimator(torch.nn.Module):
    """The network with keypoints, confidence, radius and visibility as outputs of forward."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor):
        return self.model.estimate(images)


def export(model: torch.nn.Module, path) -> None:
    """Write a network in eval mode as float32 ONNX. The batch size stays free."""
    _write_onnx(
        _Estimator(model).eval(),
        torch.zeros(2, 1, model.input_size, model.input_size),
        path,
        output_names=list(ONNX_OUTPUTS),
        dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=4096)}},
    )


def export_finder(model: torch.nn.Module, path) -> None:
    """Write a face finder in eval mode as float32 ONNX: one image of any size that is a multiple of 32."""
    height, width = (FaceFinder.multiple * torch.export.Dim(name, min=2, max=256) for name in ("h", "w"))
    _write_onnx(
        model.eval(),
        torch.zeros(1, 1, 128, 160),
        path,
        output_names=list(FINDER_OUTPUTS),
        dynamic_shapes={"x": {2: height, 3: width}},
    )


def _write_onnx(model: torch.nn.Module, example: torch.Tensor, path, **options) -> None:
    from onnxscript import optimizer

    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        verbose=False,
        input_names=["images"],
        optimize=False,  # it would fold batch norm into the weights, which float16 then cannot hold exactly
        **options,
    )
    optimizer.fold_constants(program.model)
    optimizer.remove_unused_nodes(program.model)
    proto = without_traces(store_as_half(program.model_proto))
    with atomic_path(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())


def store_as_half(proto):
    """The ONNX model with weights stored as float16 where float16 holds them exactly: the same results.

    ONNX Runtime converts them to float32 when it loads the file. All weights of a checkpoint that was saved
    with `half` are stored so; the file is half as large.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in proto.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < MIN_HALF_SIZE:
            continue
        if (values.astype(np.float16).astype(np.float32) == values).all():
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def without_traces(proto):
    """The ONNX model without the exporter's notes on each node: source lines and paths of this machine."""
    graph = proto.graph
    values = [*graph.value_info, *graph.input, *graph.output, *graph.initializer]
    for part in [proto, graph, *graph.node, *values]:
        del part.metadata_props[:]
        part.doc_string = ""
    return proto


def quantize(path, batches: list[np.ndarray], target, *, float_outputs: bool = False) -> None:
    """Write the int8 version of an ONNX file.

    batches: images (N, 1, S, S) to measure the ranges of activations on. target: the path to write.
    float_outputs: keep the last convolution and all that follows it in float32. A face finder needs it: the
        coordinates of its boxes grow with the image and would end at the largest one seen in `batches`.
    What only the visibility needs stays in float32: it is little work.
    Activations have 8 bits, weights 7: x86 processors without VNNI add up their products in 16 bits, which
    would overflow with weights of 8 bits.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter(batches)

        def get_next(self):
            batch = next(self.left, None)
            return None if batch is None else {"images": batch}

    with atomic_path(target) as temporary, tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        kept = _after_convolutions(prepared) if float_outputs else _only_for(prepared, "visibility")
        quantize_static(
            str(prepared),
            str(temporary),
            Reader(),
            nodes_to_exclude=kept,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Add", "Relu", "Resize"],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def _after_convolutions(path) -> list[str]:
    """Names of the nodes of an ONNX file whose results go into no convolution."""
    import onnx

    needed, names = set(), []
    for node in reversed(onnx.load(path).graph.node):  # a node stands before all that use its results
        if needed.isdisjoint(node.output):
            names.append(node.name)
        if node.op_type == "Conv" or not needed.isdisjoint(node.output):
            needed.update(node.input)
    return names


def _only_for(path, output: str) -> list[str]:
    """Names of the nodes of an ONNX file that no other output than this one needs."""
    import onnx

    graph = onnx.load(path).graph
    needed, names = {value.name for value in graph.output} - {output}, []
    for node in reversed(graph.node):  # a node stands before all that use its results
        if needed.isdisjoint(node.output):
            names.append(node.name)
        else:
            needed.update(node.input)
    return names


def calibration_batches(model, config: ModelConfig, dataset: FacialKeypointsDataset) -> list[np.ndarray]:
    """Inputs (N, 1, S, S) of the first and of the last pass on some images, and of boxes without a face.

    Where only faces are measured, what is no face may go beyond the ranges and then look like one.
    """
    some = range(0, len(dataset), max(len(dataset) // CALIBRATION_IMAGES, 1))[:CALIBRATION_IMAGES]
    images = [dataset.image(index) for index in some]
    size, view = config.input_size, config.whole_view
    starts = [whole_image_matrix(image.shape[:2], size, view) for image in images]
    ends = [keypoints_matrix(points, config) for points in predict_keypoints(model, config, images, starts)]
    part = FacialKeypointsDataset.from_paths([dataset.paths[i] for i in some], dataset.keypoints[list(some)])
    others, boxes, _ = no_face_boxes(part, TRAINING_SCENES, config.trained_on)
    picked = np.random.default_rng(0).permutation(len(boxes))[: len(some)]
    without = [others[i] for i in picked], [box_matrix(boxes[i], config) for i in picked]
    return [crops_to_batch(*crops, config) for crops in ((images, starts), (images, ends), without)]


def finder_batches(dataset: FacialKeypointsDataset) -> list[np.ndarray]:
    """Inputs (1, 1, S, S) of a face finder: composites of training images."""
    scenes = CompositeScenes(dataset, length=CALIBRATION_IMAGES)
    return [scenes[index]["image"][None].numpy() for index in range(len(scenes))]


def export_checkpoint(name: str, data_folder, only: str | None = None) -> list[Path]:
    """Write the ONNX files of a checkpoint beside its weights, and return their paths.

    name: a folder, a name in saved_models/, or OWNER/NAME on the hub. data_folder: the data set, for the int8
    file. only: 'model.onnx' for no int8 file.
    Raises CheckpointError for a checkpoint that is missing or damaged, or a folder that cannot be written.
    """
    folder = find_checkpoint(name)
    is_finder = isinstance(load_config(folder), FinderConfig)
    model, config = load_face_finder(folder) if is_finder else load_checkpoint(folder)
    plain, small = (folder / file for file in ONNX_FILES)
    written = [plain]
    try:
        remove_leftovers(folder)
        (export_finder if is_finder else export)(model, plain)
        record_onnx(plain)
        if only != plain.name:
            # a checkpoint of the sample or of own data was trained on the training images there are
            split = config.trained_on if config.trained_on in SPLITS else "official"
            dataset = load_split(data_folder, split, "train")
            batches = finder_batches(dataset) if is_finder else calibration_batches(model, config, dataset)
            quantize(plain, batches, small, float_outputs=is_finder)
            record_onnx(small)
            written.append(small)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written ({error.strerror or error})") from error
    return written


def run(args: argparse.Namespace) -> int:
    """Export, print the files that were written, and return the exit code."""
    if args.model_file:
        load_model_file(args.model_file, find_checkpoint(args.checkpoint))
    find_checkpoint(args.checkpoint)  # before the data, which may have to be downloaded
    data_folder = None if args.only else find_data().folder
    try:
        for path in export_checkpoint(args.checkpoint, data_folder, args.only):
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    except ImportError as error:
        raise ImportError(f"{error}. pip install onnx onnxscript onnxruntime") from error
    return 0


def main(arguments=None) -> int:
    """Export, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="folder, name in saved_models/, or OWNER/NAME on the hub")
    parser.add_argument(
        "--only", choices=[ONNX_FILES[0]], help="write model.onnx alone; model-int8.onnx needs the data set"
    )
    parser.add_argument(
        "--model-file", metavar="FILE", help="the Python file that registers the checkpoint's network"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(arguments)
    return run_command("export_onnx.py", lambda: run(args), debug=args.debug)


if __name__ == "__main__":
    sys.exit(main())
