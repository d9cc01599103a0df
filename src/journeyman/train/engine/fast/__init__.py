"""The engine for the Llama family on a processor: packed rows, shared prefixes, chosen products.

Read in this order: `packing` (rows to a tree of tokens), `decoder` (the whole model), `layer` (one
decoder layer, forward and backward by hand), then its parts: `products`, `adapters`, `attention`,
`elementwise`.
"""
