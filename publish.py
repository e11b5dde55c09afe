"""Publish a checkpoint on the Hugging Face hub, from where every detector can load it by name:

    python publish.py runs/mine-own-0/checkpoint OWNER/REPO --dry-run mine/    # look at it first
    python publish.py runs/mine-own-0/checkpoint OWNER/REPO                    # after `hf auth login`

    KeypointDetector.from_pretrained("OWNER/REPO")

What is published: config.json, model.safetensors, the ONNX files beside them (`python export_onnx.py FOLDER`
makes them), the Python file of a network of your own (--model-file), and a card with the metadata that the
hub reads. The card is the folder's README.md if it has one: write there what the network is good for.
Records, histories and what else lies in the folder stay here.
"""

import argparse
import posixpath
import re
import shutil
import sys
import tempfile
from pathlib import Path

from checkpoint import (
    CONFIG_FILE,
    ONNX_FILES,
    WEIGHTS_FILE,
    CheckpointError,
    FinderConfig,
    ModelConfig,
    find_checkpoint,
    load_checkpoint,
    load_config,
    load_face_finder,
)
from files import atomic_path, one_line
from training.own_network import copy_model_file, load_model_file, model_file_of

REPO = re.compile(r"[\w.-]+/[\w.-]+")
LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:|#)([^)]+)\)")  # to a file of this repository
TAGS = ["facial-landmarks", "face-alignment", "ibug-68"]
DATA = "YouTube Faces keypoints (Udacity P1_Facial_Keypoints)"

OWN_CARD = """# {name}

68 facial keypoints (iBUG's scheme) on a face.

**Network** `{model}` {model_args}. **Input** one face, {size} x {size} gray, cut as `config.json` says.
**Output** 68 keypoints{estimates}.
**Trained on** {images}{trained_on}, from {start}, with `train.py` and the recipe `{recipe}`. Fields of the
recipe may have been changed. **Seed** {seed}, {epochs} epochs.
"""

USE = """
## Use

```python
from detector import KeypointDetector    # or: from facial_keypoints import KeypointDetector
{register}
detector = KeypointDetector.from_pretrained("{repo}")
faces = detector("photo.jpg")
```
"""


REGISTER = """from training.own_network import load_model_file

load_model_file("{file}")    # the network's code: read it first, no code of a checkpoint is run by itself
"""


def check_repo(repo: str) -> str:
    """OWNER/REPO as it is. Raises ValueError for anything else."""
    if not REPO.fullmatch(repo):
        raise ValueError(f"a repository on the hub is named OWNER/REPO, got {repo!r}")
    return repo


def without_local_links(text: str, folder: Path, source: str = "") -> str:
    """A card's text with links to files of this repository led to `source`, or only their text without one.

    folder: where the card lies, as a path from the root of the repository.
    source: address of a folder of the repository on a server, such as https://HOST/OWNER/NAME/blob/main.
    """

    def replaced(match: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(folder.as_posix(), match[2]))
        return f"[{match[1]}]({source.rstrip('/')}/{target})" if source else match[1]

    return LINK.sub(replaced, text)


def card_text(folder: Path, config: ModelConfig | FinderConfig, repo: str, source: str = "") -> str:
    """The card without its metadata."""
    path = folder / "README.md"
    if path.is_file():
        place = Path("saved_models", folder.name)
        text = without_local_links(path.read_text(encoding="utf-8"), place, source)
        return text.replace(f'from_pretrained("{folder.name}")', f'from_pretrained("{repo}")')
    if not isinstance(config, ModelConfig):
        raise CheckpointError(f"{folder} holds a face finder without a card: write a README.md first")
    about = {"own": "the author's own images", "sample": "drawn faces (a test, not for use)"}
    known = config.started_from and f"weights that were trained on `{config.started_from}` of {DATA}"
    text = OWN_CARD.format(
        name=repo.partition("/")[2], size=config.input_size, seed=config.seed, epochs=config.epochs,
        model=config.model, model_args=config.model_args or "", recipe=config.recipe,
        trained_on=about.get(config.trained_on, f"`{config.trained_on}` of {DATA}"),
        start=known or "random weights", images=f"{config.images} images: " if config.images else "",
        estimates=", confidence and radius" if config.has_uncertainty else "; no confidence",
    )  # fmt: skip
    file = model_file_of(config.model)
    register = REGISTER.format(file=Path(file.path).name) if file else ""
    return text + USE.format(repo=repo, register=register)


def metadata(config: ModelConfig | FinderConfig, name: str, licence: str, files: list[str]) -> str:
    """The card's metadata as YAML: licence, tags, task, data, and the measured errors on held-out people.

    Raises ImportError where the hub's client is not installed.
    """
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="keypoint-detection", dataset_type="youtube-faces-keypoints", dataset_name=DATA,
            dataset_split=place, metric_type="nme", metric_name="NME (inter-ocular), %",
            metric_value=round(100 * figures["nme"], 2),
        )
        for place, figures in getattr(config, "measured", {}).items()
        if not figures.get("leak")
    ]  # fmt: skip
    data = ModelCardData(
        license=licence,
        library_name="facial-keypoints",
        pipeline_tag="keypoint-detection" if isinstance(config, ModelConfig) else "object-detection",
        tags=[*TAGS, "safetensors", *(["onnx"] if any(name.endswith(".onnx") for name in files) else [])],
        datasets=None if config.trained_on in ("own", "sample") else ["youtube-faces-keypoints"],
        metrics=["nme"] if results else None,
        model_name=name if results else None,
        eval_results=results or None,
    )
    return data.to_yaml()


def write_layout(name: str, repo: str, output: Path, *, licence: str = "mit", source: str = "") -> list[str]:
    """Write what the hub gets into an empty folder and return the names of the files.

    name: a checkpoint folder, or a name in saved_models/. The weights are loaded once, so that nothing
    damaged is published. Raises CheckpointError for a checkpoint that is missing or damaged, ValueError for a
    folder that is not empty or a wrong name of a repository.
    """
    folder = find_checkpoint(name)
    config = load_config(folder)
    (load_checkpoint if isinstance(config, ModelConfig) else load_face_finder)(folder)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output} must be a new or empty folder, so that only the checkpoint is published")
    names = [CONFIG_FILE, WEIGHTS_FILE, *(file for file in ONNX_FILES if (folder / file).is_file())]
    head = metadata(config, check_repo(repo).partition("/")[2], licence, names)
    text = f"---\n{head}\n---\n\n{card_text(folder, config, repo, source)}"
    output.mkdir(parents=True, exist_ok=True)
    for file in names:
        shutil.copyfile(folder / file, output / file)
    own = model_file_of(config.model) if isinstance(config, ModelConfig) else None
    copy_model_file(own, output)
    names += [Path(own.path).name] if own else []
    with atomic_path(output / "README.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return [*names, "README.md"]


def upload(folder: Path, repo: str, *, private: bool = False) -> str:
    """Upload a folder as a model of the hub, which is made if it is new; returns its address.

    Raises ValueError, with the hub's reason, if it refuses or does not answer.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=repo, commit_message="A checkpoint of facial-keypoints")
    except Exception as error:  # the hub client raises a family of unrelated types
        raise ValueError(
            f"{repo} was not uploaded: {one_line(str(error))}. Log in with `hf auth login` and a token "
            "that may write, and check OWNER/REPO"
        ) from error
    return str(address)


def parse_arguments(arguments=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="checkpoint folder, or a name in saved_models/")
    parser.add_argument("repo", metavar="OWNER/REPO", help="the model on the hub; made if it is new")
    parser.add_argument(
        "--dry-run", type=Path, metavar="FOLDER", help="write what would be uploaded into this folder only"
    )
    parser.add_argument(
        "--model-file", metavar="FILE", help="the file that registers the checkpoint's network"
    )
    parser.add_argument("--private", action="store_true", help="make a new model private")
    parser.add_argument("--licence", default="mit", help="of the weights, as the hub names it (default: mit)")
    parser.add_argument(
        "--source",
        default="",
        metavar="URL",
        help="address of this repository's files, for links of the card",
    )
    return parser.parse_args(arguments)


def main(arguments=None) -> int:
    """Write or upload, print where, and return the exit code."""
    args = parse_arguments(arguments)
    options = {"licence": args.licence, "source": args.source}
    try:
        check_repo(args.repo)
        if args.model_file:
            load_model_file(args.model_file, find_checkpoint(args.checkpoint))
        if args.dry_run:
            names = write_layout(args.checkpoint, args.repo, args.dry_run, **options)
            print(f"{args.dry_run}: {', '.join(names)}; nothing was uploaded")
            return 0
        with tempfile.TemporaryDirectory() as temporary:
            write_layout(args.checkpoint, args.repo, Path(temporary), **options)
            print(upload(Path(temporary), args.repo, private=args.private))
    except (ValueError, OSError, ImportError) as error:
        print(f"publish.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
