"""The engine for the Llama family: sequence packing, shared prefixes computed once, fast products.

Read in this order: `packing` (rows to one sequence), `decoder` (the whole model), `layer` (one
decoder layer, forward and backward written by hand), then its parts: `linear`, `lora`, `attention`,
`elementwise`.
"""
