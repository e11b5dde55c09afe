# `make notebooks` is all it takes: an environment in .venv, the data, the four notebooks.
# Needs GNU make and Python 3.11 or newer; another Python: make PYTHON=python3.12 notebooks
# On Windows, use the steps without make in README.md.

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
READY  := $(VENV)/.ready
# Present while packages are being installed: whoever finds it starts over.
UNDONE := $(VENV)/.unfinished

# make TORCH=cpu ...: PyTorch's build for CPUs, without the packages for GPUs, two thirds of the installation.
# Any backend of uv's --torch-backend. It counts when .venv is made; remove .venv to change it.
TORCH      ?=
FOR_GPUS   := ^(nvidia-|cuda-|triton==)

RECIPE     ?= heatmapnet_fast
CHECKPOINT ?= heatmapnet-identity
FACES      ?= whole
# DRY=1 prints what `make reproduce` and `make measure` would run; ENVIRONMENT: where dlib and MediaPipe are
REPRODUCE  := $(if $(DRY),--dry-run) $(if $(ENVIRONMENT),--environment $(ENVIRONMENT))
# Anything else for the command behind a target: make train ARGS="--resume --seed 1"
ARGS       ?=

.DEFAULT_GOAL := help
.PHONY: help notebooks test onnx lab demo tables measure reproduce train evaluate attack lint lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

notebooks: $(READY)  ## set up, find or download the data, run the four notebooks
	$(PY) -m tools.run_notebooks $(ARGS)

test: $(READY)  ## set up, lint, check the committed notebooks, run the tests: ARGS="-k name" for some
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m tools.check_notebooks
	$(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

onnx:  ## detect without PyTorch, in an environment of its own that holds only requirements-onnx.txt
	$(PYTHON) -m venv $(VENV)/onnx
	$(VENV)/onnx/bin/python -m pip install --quiet -r requirements-onnx.txt
	$(VENV)/onnx/bin/python detect.py benchmarks/readme_figure/readme_figure.png | grep -q keypoints

lab: $(READY)  ## open the notebooks in JupyterLab
	JUPYTER_PREFER_ENV_PATH=1 $(PY) -m jupyterlab --LabApp.default_url=/lab/tree/notebooks/1_load_and_visualize.ipynb $(ARGS)

demo: $(READY)  ## build the page for the browser into reports/demo/ and serve it: ARGS="--port 8001"
	$(PY) -m tools.demo $(ARGS)

tables: $(READY)  ## stored records to every page, model card, README block and figure
	$(PY) -m tools.tables $(ARGS)

measure: $(READY)  ## weights to records, where these are not current; then the tables
	$(PY) -m tools.reproduce --measure $(REPRODUCE) $(ARGS)

reproduce: $(READY)  ## training to weights to records to tables (about a day): DRY=1 prints the plan
	$(PY) -m tools.reproduce $(REPRODUCE) $(ARGS)

train: $(READY)  ## train a network: RECIPE=heatmapnet_fast SPLIT=official
	$(PY) train.py --recipe $(RECIPE) --split $(or $(SPLIT),official) $(ARGS)

evaluate: $(READY)  ## measure a network: CHECKPOINT=heatmapnet-identity SPLIT=identity FACES=whole
	$(PY) evaluate.py $(CHECKPOINT) --split $(or $(SPLIT),identity) --faces $(FACES) $(ARGS)

attack: $(READY)  ## feed 20,000 hostile inputs, write the page about them
	$(PY) -m tools.attack $(ARGS)

lint: $(READY)  ## ruff, mypy, and what the committed notebooks hold
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m tools.check_notebooks

lock: $(READY)  ## requirements.txt to exact pins; newer versions: ARGS=--upgrade
	$(PY) -m pip install --quiet uv
	$(VENV)/bin/uv pip compile --universal --python-version 3.11 --no-annotate --no-header $(ARGS) requirements.txt -o requirements.lock

clean:  ## remove reports and caches; data, runs and .venv stay
	rm -rf reports .pytest_cache .ruff_cache .mypy_cache
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# uv installs in half a minute what takes pip three, but it is not needed.
$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not. Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@if [ -e $(UNDONE) ]; then echo "The last installation was interrupted: starting over."; rm -rf $(VENV); fi
	@mkdir -p $(VENV) && touch $(UNDONE)
	$(PYTHON) -m venv $(VENV)
ifdef TORCH
	grep -vE '$(FOR_GPUS)' requirements.lock > $(VENV)/requirements.txt
	$(PY) -m pip install --quiet uv
	$(VENV)/bin/uv pip install --python $(PY) --torch-backend=$(TORCH) -r $(VENV)/requirements.txt
else
	{ $(PY) -m pip install --quiet uv && $(VENV)/bin/uv pip install --python $(PY) -r requirements.lock; } \
	  || $(PY) -m pip install -r requirements.lock
endif
	@touch $@ && rm -f $(UNDONE)
