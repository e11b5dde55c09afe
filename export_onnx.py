"""Write the ONNX files of a checkpoint, for ONNX Runtime and everything that reads ONNX:

    python export_onnx.py heatmapnet              # model.onnx and model-int8.onnx beside the weights
    python export_onnx.py runs/mine/checkpoint --only model.onnx

Input: images (N, 1, S, S) float32 in the config's gray range. Outputs: keypoints (N, 68, 2)
and radius (N, 68) in the network's unit, confidence (N,). The int8 file has its
convolutions in 8 bits; what its activations span is measured on training images.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from checkpoint import ModelConfig, find_checkpoint, load_checkpoint
from data_fetch import DataError, find_data
from data_load import FacialKeypointsDataset, load_split
from detector.predictor import ONNX_OUTPUTS, RUNTIMES, crops_to_batch, keypoints_matrix, predict_keypoints
from geometry import whole_image_matrix

CALIBRATION_IMAGES = 128
MIN_HALF_SIZE = 1024  # numbers; below, a float16 weight saves nothing


class _Estimator(torch.nn.Module):
    """What the file computes: all three outputs, whatever the network's own forward gives."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor):
        return self.model.estimate(images)


def export(model: torch.nn.Module, path) -> None:
    """Write `model` (eval mode) as float32 ONNX with a free batch size."""
    from onnxscript import optimizer

    example = torch.zeros(2, 1, model.input_size, model.input_size)
    program = torch.onnx.export(
        _Estimator(model).eval(),
        (example,),
        dynamo=True,
        verbose=False,
        input_names=["images"],
        output_names=list(ONNX_OUTPUTS),
        dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=4096)}},
        optimize=False,  # it would fold batch norm into weights that then fit no float16
    )
    optimizer.fold_constants(program.model)
    optimizer.remove_unused_nodes(program.model)
    proto = without_traces(store_as_half(program.model_proto))
    _write_beside(path, lambda beside: beside.write_bytes(proto.SerializeToString()))


def store_as_half(proto):
    """The same ONNX model with weights in float16 where nothing is lost: half the size, the same answers.

    ONNX Runtime makes float32 of them once, when it loads the file. Weights of a checkpoint that was
    saved with `half` survive this to the last bit, others stay as they are.
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
    """The same ONNX model without the exporter's notes on each node: source lines, paths of this machine."""
    graph = proto.graph
    values = [*graph.value_info, *graph.input, *graph.output, *graph.initializer]
    for part in [proto, graph, *graph.node, *values]:
        del part.metadata_props[:]
        part.doc_string = ""
    return proto


def quantize(path, batches: list[np.ndarray], target) -> None:
    """Write the int8 twin of an ONNX file. batches: images (N, 1, S, S) to measure activations on."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter(batches)

        def get_next(self):
            batch = next(self.left, None)
            return None if batch is None else {"images": batch}

    def write(beside: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            prepared = Path(folder) / "prepared.onnx"
            quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(beside),
                Reader(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "Add", "Relu", "Resize"],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )

    _write_beside(target, write)


def _write_beside(path, write) -> None:
    path = Path(path)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.onnx")
    try:
        write(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def calibration_batches(model, config: ModelConfig, dataset: FacialKeypointsDataset) -> list[np.ndarray]:
    """First and last looks at some images of a data set, as the network sees them."""
    step = max(len(dataset) // CALIBRATION_IMAGES, 1)
    images = [dataset.image(index) for index in range(0, len(dataset), step)][:CALIBRATION_IMAGES]
    size, view = config.input_size, config.whole_view
    starts = [whole_image_matrix(image.shape[:2], size, view) for image in images]
    ends = [keypoints_matrix(points, config) for points in predict_keypoints(model, config, images, starts)]
    return [crops_to_batch(images, matrices, config) for matrices in (starts, ends)]


def export_checkpoint(name: str, data_folder, only: str | None = None) -> list[Path]:
    """Write the ONNX files of a checkpoint beside its weights; the paths written."""
    folder = find_checkpoint(name)
    model, config = load_checkpoint(folder)
    plain, small = (folder / RUNTIMES[runtime] for runtime in ("onnx", "onnx-int8"))
    export(model, plain)
    written = [plain]
    if only != plain.name:
        dataset = load_split(data_folder, config.trained_on, "train")
        quantize(plain, calibration_batches(model, config, dataset), small)
        written.append(small)
    return written


def main(arguments=None) -> int:
    """Export, print what was written, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="folder, or name in saved_models/")
    parser.add_argument("--only", choices=[RUNTIMES["onnx"]], help="no int8 file, which needs data")
    args = parser.parse_args(arguments)
    try:
        folder = None if args.only else find_data().folder
        for path in export_checkpoint(args.checkpoint, folder, args.only):
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    except (ValueError, DataError) as error:
        print(f"export_onnx.py: {error}", file=sys.stderr)
        return 1
    except ImportError as error:
        print(f"export_onnx.py: {error}. pip install onnx onnxscript onnxruntime", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
