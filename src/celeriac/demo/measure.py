"""Measuring one Python file: its syntax tree, and what is long and deep in it."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path
from typing import TypedDict

BLOCKS = (ast.For, ast.AsyncFor, ast.While, ast.If, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Measures(TypedDict):
    """What one file is like."""

    path: str
    lines: int
    functions: int
    classes: int
    longest_function: str
    longest_function_lines: int
    deepest_nesting: int
    """Blocks and definitions within each other."""


def measure_file(path: str) -> Measures:
    """Parse the file and measure it. Raises `SyntaxError` or `ValueError` when it does not parse."""
    source = Path(path).read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the file's own style, which is no concern of ours
        tree = ast.parse(source, filename=path)
    measures: Measures = {
        "path": path,
        "lines": source.count(b"\n"),
        "functions": 0,
        "classes": 0,
        "longest_function": "",
        "longest_function_lines": 0,
        "deepest_nesting": 0,
    }
    # Not recursive: generated files nest deeper than Python calls may.
    waiting: list[tuple[ast.AST, int]] = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, FUNCTIONS):
            measures["functions"] += 1
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > measures["longest_function_lines"]:
                measures["longest_function"], measures["longest_function_lines"] = node.name, length
        elif isinstance(node, ast.ClassDef):
            measures["classes"] += 1
        if isinstance(node, (*BLOCKS, *FUNCTIONS, ast.ClassDef)):
            depth += 1
            measures["deepest_nesting"] = max(measures["deepest_nesting"], depth)
        waiting.extend((child, depth) for child in ast.iter_child_nodes(node))
    return measures
