"""One module per log format. Each has a `FORMAT`, which `registry.FORMATS` lists."""
