# Gatewise on this machine: `make train` and `make test` do everything, set-up included. `make help` lists the rest.

# The first that runs and can make a virtual environment; a name on the PATH may be a shim that does not run.
PYTHON ?= $(shell for name in python3.11 python3.12; do $$name -c "import ensurepip, venv" >/dev/null 2>&1 && echo $$name && break; done; true)
VENV := .venv
BIN := $(VENV)/bin
# The device whose packages $(VENV) has. Without DEVICE= every target takes the packages that are there, else those for CPUs.
INSTALLED := $(if $(wildcard $(VENV)/device),$(shell cat $(VENV)/device),$(if $(wildcard $(VENV)/installed),cpu))
DEVICE ?= $(or $(INSTALLED),cpu)
DOCS := .cache/docs
CONFIG ?= configs/tiny_$(DEVICE).toml
SET ?=
RUN ?= runs/$(basename $(notdir $(CONFIG)))-$(shell date +%m%d-%H%M%S)
TORCH := torch==2.13.0+cpu
UV := uv==0.13.9

export TOKENIZERS_PARALLELISM := false
# Images often set it; every process of a run would compile vLLM and torch from source again, a third of its start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup tiny train train-tool train-game test lint format unit end-to-end bench docs lock clean

$(if $(filter cpu gpu,$(DEVICE)),,$(error DEVICE is $(DEVICE): use cpu or gpu))
OTHER := $(if $(INSTALLED),$(filter-out $(DEVICE),$(INSTALLED)))
ifneq ($(OTHER),)
ifneq ($(filter-out setup help clean,$(MAKECMDGOALS)),)
$(error $(VENV) has the packages for $(OTHER): `make setup DEVICE=$(DEVICE)` makes it anew for $(DEVICE), and \
`make $(MAKECMDGOALS) DEVICE=$(DEVICE) VENV=.venv-$(DEVICE)` keeps both side by side)
endif
endif
ifeq ($(DEVICE),gpu)
ifneq ($(filter test end-to-end bench,$(MAKECMDGOALS)),)
$(error $(MAKECMDGOALS): the engines of tests and benchmarks run on CPUs, and vLLM for GPUs cannot: \
`make $(MAKECMDGOALS) DEVICE=cpu VENV=.venv-cpu` runs beside the packages for GPUs)
endif
endif

# Make the virtual environment $(1) where there is none.
make_venv = test -x $(1)/bin/python || { $(or $(PYTHON),false) -c \
	"import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))" 2>/dev/null || { \
	echo "Gatewise needs Python 3.11 or 3.12 with its venv module;" \
		"$(if $(PYTHON),PYTHON=$(PYTHON) is not that,no python3.11 or python3.12 on the PATH runs)." >&2; \
	echo "Install one (Debian, Ubuntu: apt install python3.11-venv), or name one:" \
		"make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.12" >&2; exit 1; } && $(PYTHON) -m venv $(1); }

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/installed ## make .venv and install the locked packages; DEVICE=gpu for NVIDIA GPUs

$(VENV)/installed: requirements/$(DEVICE).txt setup.py configs/version.py $(if $(OTHER),anew)
	@$(call make_venv,$(VENV))
	@echo $(DEVICE) > $(VENV)/device
	@echo "installing $$(grep -c == requirements/$(DEVICE).txt) locked packages into $(VENV)$(ABOUT_$(DEVICE))"
	@$(BIN)/python -m pip install -q --disable-pip-version-check $(UV)
	@$(TORCH_$(DEVICE))
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -r requirements/$(DEVICE).txt \
		|| $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r requirements/$(DEVICE).txt
	@$(BIN)/python -c "$(BUILT_FOR_$(DEVICE))" \
		|| { echo "the torch in $(VENV) is no build for $(DEVICE): which index or PIP_FIND_LINKS has it?" >&2; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

ABOUT_gpu := : about 4 GB to download; CUDA 13 needs an NVIDIA driver of version 580 or newer
# torch's CPU build comes from the configured indexes where they have it, else from PyTorch's own CPU index, which uv knows by name.
TORCH_cpu = $(BIN)/python -c "import torch; assert torch.__version__ == '$(TORCH)'.split('==')[1]" 2>/dev/null \
	|| $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps "$(TORCH)" 2>/dev/null \
	|| $(BIN)/uv pip install -q --python $(BIN)/python --no-deps --torch-backend cpu "$(TORCH)"
TORCH_gpu := true
BUILT_FOR_cpu := from torch.version import cuda; assert cuda is None
BUILT_FOR_gpu := from torch.version import cuda; assert cuda is not None

# Packages of two devices in one environment would be mixed: one of them would import the other's torch.
anew:
	@echo "$(VENV) has the packages for $(OTHER): it is made anew for $(DEVICE)"
	@rm -rf $(VENV)

$(VENV)/installed-dev: $(VENV)/installed requirements/dev.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -r requirements/dev.txt \
		|| $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r requirements/dev.txt
	@touch $@

tiny: .cache/tiny/made.json ## make and warm up the tiny Qwen3-MoE and its arithmetic data, once

.cache/tiny/made.json: | $(VENV)/installed
	@$(BIN)/python -m learner.tiny .cache/tiny

# The model that a demo's config names; every other config takes the one for sums or a model of its own.
.cache/tiny_%/made.json: | $(VENV)/installed
	@$(BIN)/python -m learner.tiny .cache/tiny_$* --task $*

DEMO = $(patsubst configs/%.toml,.cache/%/made.json,$(filter configs/tiny_tool.toml configs/tiny_game.toml,$(CONFIG)))

train: setup $(or $(DEMO),tiny) ## train the tiny Qwen3-MoE; CONFIG=file SET="key=value ..." for another run
	@$(BIN)/python -m cluster train $(CONFIG) run.dir=$(RUN) $(SET)

train-tool: ## it learns to call a calculator and to copy what that answers
	@$(MAKE) --no-print-directory train CONFIG=configs/tiny_tool.toml

train-game: ## it learns a game of several turns
	@$(MAKE) --no-print-directory train CONFIG=configs/tiny_game.toml

test: lint unit end-to-end ## everything CI runs

lint: $(VENV)/installed-dev ## ruff and mypy
	@$(BIN)/ruff format --check -q . || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check -q .
	@$(BIN)/mypy

format: $(VENV)/installed-dev ## put the code into form
	@$(BIN)/ruff format -q .
	@$(BIN)/ruff check -q --fix .

unit: $(VENV)/installed-dev ## the tests that start no engine
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not end_to_end"

end-to-end: $(VENV)/installed-dev tiny ## the tests on real engines, ranks and Ray
	@$(BIN)/python -m pytest -q -n 2 --dist loadscope -m end_to_end

bench: $(VENV)/installed-dev tiny ## measure against references in the same run
	@$(BIN)/python -m benchmarks

docs: $(DOCS)/installed ## build docs/ as a searchable site in site/; a broken link fails
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict
	@echo "site/index.html; to search, serve it: $(DOCS)/bin/python -m http.server -d site -b 127.0.0.1"

$(DOCS)/installed: requirements/docs.txt
	@$(call make_venv,$(DOCS))
	@$(DOCS)/bin/python -m pip install -qq --disable-pip-version-check --no-deps -r requirements/docs.txt
	@touch $@

lock: $(VENV)/installed ## renew the locks from requirements/*.in; versions stay unless UPGRADE=--upgrade
	@$(BIN)/uv pip compile -q --no-header --no-annotate --python-version 3.11 $(UPGRADE) $(addprefix --find-links ,$(PIP_FIND_LINKS)) \
		--override requirements/cpu.overrides requirements/cpu.in -o requirements/cpu.txt \
		|| $(BIN)/uv pip compile -q --no-header --no-annotate --python-version 3.11 $(UPGRADE) --torch-backend cpu \
		--override requirements/cpu.overrides requirements/cpu.in -o requirements/cpu.txt
	@$(BIN)/uv pip compile -q --no-header --no-annotate --python-version 3.11 --python-platform x86_64-manylinux_2_31 $(UPGRADE) \
		requirements/gpu.in -o requirements/gpu.txt
	@$(BIN)/uv pip compile -q --no-header --no-annotate --python-version 3.11 $(UPGRADE) requirements/dev.in -o requirements/dev.txt
	@$(BIN)/uv pip compile -q --no-header --no-annotate --python-version 3.11 $(UPGRADE) requirements/docs.in -o requirements/docs.txt

clean: ## remove what was installed and made here; runs stay
	@rm -rf $(VENV) .cache build site *.egg-info
