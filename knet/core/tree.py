"""Pytrees: nested dicts, lists, tuples, named tuples, dataclasses and registered classes with arrays as leaves.

A thin face over optree (https://github.com/metaopt/optree). ``None`` is an empty subtree, as in JAX.
Dictionary keys are visited in sorted order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optree

from . import errors

__all__ = ["all", "flatten", "leaves", "map", "map_with_path", "paths", "reduce", "register", "structure", "unflatten"]

NAMESPACE = "knet"


def flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], optree.PyTreeSpec]:
    """Leaves in order, and the structure that :func:`unflatten` needs."""
    return optree.tree_flatten(tree, is_leaf, namespace=NAMESPACE)


def unflatten(structure: optree.PyTreeSpec, leaves: Any) -> Any:
    """Tree of the given structure with new leaves."""
    return optree.tree_unflatten(structure, leaves)


def leaves(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """Leaves in order."""
    return optree.tree_leaves(tree, is_leaf, namespace=NAMESPACE)


def structure(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> optree.PyTreeSpec:
    """Structure of a tree without its leaves."""
    return optree.tree_structure(tree, is_leaf, namespace=NAMESPACE)


def map(function: Callable[..., Any], tree: Any, *rest: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """Tree of ``function(leaf, *leaves of rest)``.

    Raises:
      TreeError: a tree in ``rest`` lacks the structure of the first.
    """
    try:
        return optree.tree_map(function, tree, *rest, is_leaf=is_leaf, namespace=NAMESPACE)
    except ValueError:
        for other in rest:
            check_structure("tree.map", other, tree, "pass trees of one structure")
        raise


def map_with_path(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Tree of ``function(path, leaf, ...)``; a path is the text by which a leaf is reached, such as ``['w'][0]``."""
    return optree.tree_map_with_accessor(
        lambda accessor, *xs: function(accessor.codify(""), *xs), tree, *rest, namespace=NAMESPACE
    )


def paths(tree: Any) -> list[str]:
    """The text by which each leaf is reached, such as ``['w'][0]``, in the order of the leaves."""
    return [accessor.codify("") for accessor in optree.tree_accessors(tree, namespace=NAMESPACE)]


def reduce(function: Callable[[Any, Any], Any], tree: Any, initial: Any) -> Any:
    """Left fold of ``function`` over the leaves."""
    for leaf in leaves(tree):
        initial = function(initial, leaf)
    return initial


def all(tree: Any) -> bool:
    """Whether every leaf is true."""
    return optree.tree_all(tree, namespace=NAMESPACE)


def register(cls: type, flatten: Callable[[Any], tuple[Any, Any]], unflatten: Callable[[Any, Any], Any]) -> type:
    """Make a class a pytree node.

    Args:
      flatten: takes an instance, returns (children, static data that hashes and compares).
      unflatten: takes (static data, children), returns an instance.
    """
    optree.register_pytree_node(cls, flatten, unflatten, namespace=NAMESPACE)
    return cls


def broadcast_prefix(prefix: Any, tree: Any, where: str, fix: str) -> list[Any]:
    """For each leaf of ``tree`` the leaf of ``prefix`` above it; in a prefix None is a leaf.

    Raises:
      TreeError: ``prefix`` is none.
    """
    if prefix is None or isinstance(prefix, int):
        return [prefix] * len(leaves(tree))
    try:
        pairs = optree.tree_broadcast_prefix(prefix, tree, none_is_leaf=True, namespace=NAMESPACE)
    except ValueError as e:
        raise errors.tree_mismatch(where, prefix, structure(tree), fix) from e
    whole = optree.tree_leaves(tree, none_is_leaf=True, namespace=NAMESPACE)
    return [
        p for p, x in zip(optree.tree_leaves(pairs, none_is_leaf=True, namespace=NAMESPACE), whole) if x is not None
    ]


def check_structure(where: str, got: Any, want: Any, fix: str) -> None:
    """Raise a TreeError that names the first place where two trees differ; return if they do not."""
    if structure(got) == structure(want):
        return
    got_paths, want_paths = set(paths(got)), set(paths(want))
    missing, extra = sorted(want_paths - got_paths), sorted(got_paths - want_paths)
    parts = [f"missing {', '.join(missing[:3])}"] if missing else []
    parts += [f"unexpected {', '.join(extra[:3])}"] if extra else []
    raise errors.tree_mismatch(where, "; ".join(parts) or str(structure(got)), str(structure(want)), fix)
