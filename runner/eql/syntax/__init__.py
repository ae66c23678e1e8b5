"""From text to tree: tokens, syntax tree, parser, errors."""
