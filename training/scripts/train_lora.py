#!/usr/bin/env python3
"""Train a LoRA adapter on training/data, with the defaults of training/configs/lora_config.json."""

from environment import ROOT, run_command

CONFIG = ROOT / "training" / "configs" / "lora_config.json"
run_command("train", defaults=[("--config", str(CONFIG))] if CONFIG.exists() else [])
