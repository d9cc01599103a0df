"""From an adapter to a GGUF that is proven to say the same: see `journeyman.convert.stage`."""
