"""From a dataset and a base model to a LoRA adapter. `stage.train` is the entry."""
