"""Gatewise as a distribution: its six top-level folders are named, because everything else at the top level stays out of it."""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = ("configs", "rollout", "reward", "learner", "cluster", "gatewise")
# Run as a script: while a package is built, this folder is not on the import path.
VERSION = runpy.run_path(str(Path(__file__).parent / "configs" / "version.py"))["VERSION"]

setup(
    name="gatewise",
    version=VERSION,
    description="Reinforcement learning for mixture-of-experts language models: Ray, vLLM, DeepSpeed.",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.13",
    packages=find_packages(include=[pattern for folder in FOLDERS for pattern in (folder, f"{folder}.*")]),
    package_data={folder: ["*.toml", "py.typed"] for folder in FOLDERS} | {"cluster.report": ["assets/*"]},
    install_requires=[
        "accelerate",
        "datasets",
        "deepspeed==0.19.8",
        "httpx",
        "jsonschema",
        "matplotlib",
        "mpmath",
        "packaging",
        "plotly>=6",
        "psutil",
        "py3langid",
        "pyarrow",
        "pydantic>=2.14",
        "ray[default]==2.60.0",
        "rich",
        "safetensors",
        "tensorboard",
        "torch==2.13.0",
        "transformers==5.19.0",
        "xxhash",
    ],
    extras_require={
        "gpu": ["vllm==0.30.0", "torch==2.13.0"],
        "tools": ["mcp>=2.0,<3"],
        "gymnasium": ["gymnasium>=1.0,<2"],
        "openenv": ["openenv-core>=0.3,<0.4"],
        "verifiers": ["verifiers>=0.4,<0.5"],
        "wandb": ["wandb>=0.27,<1"],
        "mlflow": ["mlflow>=3.1,<4"],
        "trackio": ["trackio>=0.25,<1"],
        "bench": ["trl==1.16.0"],
        "dev": ["hypothesis", "ipykernel", "mypy", "nbclient", "pytest", "pytest-timeout", "ruff"],
    },
    entry_points={"console_scripts": ["gatewise = cluster.__main__:main"]},
)
