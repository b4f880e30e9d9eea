# Every target makes its own environment in .venv first; nothing is installed outside this folder.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export DETECTRON2_DATASETS ?= datasets
# Free words for the demo's sample images, novel ones among them.
WORDS := plain cross,plain square,ringed square,ringed circle,ringed triangle,zigzag circle,dotted circle,dotted star,checkered circle,checkered triangle,striped cross,ringed crescent
STUFF := grass,sand

.PHONY: demo figures test test-fast test-real lint golden clean

# From nothing to the answer: environment, pictures of free-text words, data, evaluation table.
demo: $(INSTALLED)
	$(BIN)/python demo/demo.py --vocab "$(WORDS)" --stuff "$(STUFF)" --output output/demo/pictures
	$(BIN)/python datasets/make_shapes.py --output $(DETECTRON2_DATASETS)/shapes --num-train 400 --num-val 100 --num-captions 0 --seed 0 --exist-ok
	$(BIN)/python train_net.py --config-file configs/shapes/masqclip.yaml --eval-only --num-gpus 0 MODEL.WEIGHTS masqclip://shapes_masqclip OUTPUT_DIR output/demo/evaluation

# The pictures of README and docs, from the weights in output/ or else those that ship.
figures: $(INSTALLED)
	$(BIN)/python tools/make_figures.py --docs docs/figures --vocab "$(WORDS)" --stuff "$(STUFF)"

# Everything that needs no GPU, no network, no downloaded weights: the fast tests, then the slow ones.
test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not gpu and not weights and not datasets"

test-fast: $(INSTALLED)
	$(BIN)/python -m pytest

# The same suite on the real Detectron2: DETECTRON2=/path/to/a/checkout
test-real: $(INSTALLED)
	MASQCLIP_D2=real PYTHONPATH=$(DETECTRON2) $(BIN)/python -m pytest -m "not gpu and not weights and not datasets"

golden: $(INSTALLED)
	$(BIN)/python tests/check_golden.py tests/golden/*.npz tests/golden/pq_A

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(INSTALLED): setup.py pyproject.toml masqclip_d2/diagnostics/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -e ".[dev]"
	$(BIN)/python -m pip install --no-deps lvis
	touch $@

clean:
	rm -rf $(VENV) output build *.egg-info
