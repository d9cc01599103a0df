#!/usr/bin/env python3
"""training/data -> a LoRA adapter, with the defaults of training/configs/lora_config.json."""

from environment import ROOT, hand_over

CONFIG = ROOT / "training" / "configs" / "lora_config.json"
hand_over("train", defaults=[("--config", str(CONFIG))] if CONFIG.exists() else [])
