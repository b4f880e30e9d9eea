# Every target first creates the environment .venv; nothing is installed outside this folder.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Two processes with one thread each: more threads per process are slower on small tensors.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
WORKERS ?= 2
ALL := -m "not gpu and not weights and not datasets" -n $(WORKERS) --dist worksteal
export DETECTRON2_DATASETS ?= datasets
# Category names of the sample images of the demo, as `python -m projects.figures.samples` prints them; some are novel.
VOCABULARY := dotted cross,dotted square,checkered square,ringed star,striped crescent,zigzag triangle,checkered star,plain cross,ringed cross,ringed square,dotted circle
STUFF := water,brick,sand,grass,wood

.PHONY: demo docs figures notebooks test test-fast test-real fuzz bench-gpu lint golden clean

# From a fresh clone to results: visualizations for free-text categories, then data and an evaluation table.
demo: $(INSTALLED)
	$(BIN)/python demo/demo.py --vocab "$(VOCABULARY)" --stuff "$(STUFF)" --output output/demo/visualizations
	$(BIN)/python datasets/make_shapes.py --output $(DETECTRON2_DATASETS)/shapes --num-train 400 --num-val 100 --num-captions 0 --seed 0 --exist-ok
	$(BIN)/python train_net.py --config-file configs/shapes/masqclip.yaml --eval-only --num-gpus 0 MODEL.WEIGHTS masqclip://shapes_masqclip OUTPUT_DIR output/demo/evaluation

# The figures of README and docs, from the weights in output/ or else the shipped ones.
figures: $(INSTALLED)
	$(BIN)/python -m projects.figures --docs docs/figures --vocab "$(VOCABULARY)" --stuff "$(STUFF)"

# Run the notebooks of demo/ and docs/tutorials/ and store their outputs in them.
notebooks: $(INSTALLED)
	$(BIN)/python -m projects.notebooks

# The documentation site in output/documentation/site, with all links checked; docs/zensical.yml has its navigation.
docs: $(INSTALLED)
	$(BIN)/python -m projects.documentation

# Everything that needs no GPU, no network and no downloaded weights, slow tests included.
test: $(INSTALLED)
	$(PYTEST) $(ALL)

test-fast: $(INSTALLED)
	$(PYTEST) -n $(WORKERS) --dist worksteal

# Odd inputs of readers and public functions, other ones each time: make fuzz MINUTES=10
fuzz: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),10)

# The same tests with the real Detectron2: make test-real DETECTRON2=/path/to/a/checkout
test-real: $(INSTALLED)
	MASQCLIP_D2=real PYTHONPATH=$(DETECTRON2) $(PYTEST) $(ALL)

# On a CUDA GPU, 8 minutes: parity and time of the kernels, of the models and of training; docs/performance.md.
bench-gpu: $(INSTALLED)
	$(BIN)/python benchmarks/gpu.py

golden: $(INSTALLED)
	$(BIN)/python tests/check_golden.py tests/golden/*.npz tests/golden/pq_A

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	PYTHONPATH=masqclip_d2/_bundled $(BIN)/lint-imports

$(INSTALLED): setup.py pyproject.toml masqclip_d2/diagnostics/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -e ".[dev]"
	$(BIN)/python -m pip install --no-deps lvis
	touch $@

clean:
	rm -rf $(VENV) output build *.egg-info
