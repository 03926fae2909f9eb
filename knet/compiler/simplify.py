"""Algebra on graphs: a table of rules, each of which puts less in the place of an operation.

A rule is called as ``rule(s, operands, params, aval)`` with the operation's operands in the new graph and the aval of
its result, and returns the value that takes its place, or None where it does not apply. Rules are exact, signs of zero
and NaN included, but for those marked "rounds", whose results differ by a rounding or two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..core import ShapedArray
from ..core.custom import Call
from ..core.ops import elementwise as ew
from . import rules
from .graph import Builder, Graph, Value


def simplify(graph: Graph) -> Graph:
    """The graph with the rules of :data:`RULES` applied until none fits."""
    return Simplifier(graph, _BY_NAME).run()


class Simplifier:
    """A graph in the making; rules add operations by :meth:`make`, to which rules apply again."""

    def __init__(self, graph: Graph, rules: dict[str, list[Any]]) -> None:
        self.old = graph
        self.rules = rules
        self.builder = Builder(graph)
        self.uses = graph.uses()

    def run(self) -> Graph:
        for node in self.old.nodes:
            operands = self.builder.operands(node)
            result = None
            if not isinstance(node.op, Call) and len(node.results) == 1:
                result = self.apply(node.op, operands, node.params, node.results[0].aval)
            if result is None:
                self.builder.copy(node, operands)
            else:
                self.builder.replaced[node.results[0]] = result
                self.uses[result] = self.uses.get(result, 0) + self.uses.get(node.results[0], 0)
        return self.builder.finish()

    def apply(self, op: Any, operands: Sequence[Any], params: dict[str, Any], aval: ShapedArray) -> Any:
        """What the first fitting rule makes of an operation, or None."""
        for rule in self.rules.get(op.name, ()):
            result = rule(self, operands, params, aval)
            if result is not None:
                return result
        if op.pointwise:
            return rules.without_broadcasts(self, op, operands, aval)
        return None

    def make(self, op: Any, operands: Sequence[Any], aval: ShapedArray, **params: Any) -> Value:
        """Result of an operation in the new graph, or of what stands for it."""
        result = self.apply(op, operands, params, aval)
        return self.builder.add(op, operands, params, [aval]).results[0] if result is None else result


class Rule(NamedTuple):
    """A row of the table: what it does, and the operations that it looks at."""

    name: str
    ops: tuple[str, ...]
    rule: Callable[..., Any]


def by_name(table: Sequence[Rule]) -> dict[str, list[Any]]:
    """The rules that look at an operation, by its name, in their order."""
    result: dict[str, list[Any]] = {}
    for row in table:
        for name in row.ops:
            result.setdefault(name, []).append(row.rule)
    return result


RULES = (
    Rule("reshape of reshape", ("reshape",), rules.reshape),
    Rule("permute of permute, or of axes of size 1", ("permute",), rules.permute),
    Rule("transposed product of transposed (rounds)", ("permute",), rules.transposed_product),
    Rule("product with a vector", ("matvec",), rules.product_with_vector),
    Rule("broadcast of broadcast", ("broadcast_to",), rules.broadcast_to),
    Rule("slices' cotangents side by side", ("add",), rules.pieces),
    Rule("reduction of axes of size 1", tuple(op.name for op in rules.REDUCTIONS), rules.of_size_one),
    *(Rule(f"whole {op.name} of reshape", (op.name,), rules.whole(op)) for op in rules.REDUCTIONS),
    Rule("sum of broadcast (rounds)", ("reduce_sum",), rules.sum_of_broadcast),
    Rule("logsumexp below the maximum (rounds)", ("logsumexp",), rules.below_maximum),
    Rule("exp(x - log(sum of exp(x))) (rounds)", ("exp",), rules.softmax),
    Rule("x * 1", ("multiply",), rules.times_one),
    Rule("x / 1, x ** 1", ("divide", "power"), rules.right_one),
    Rule("x + -0.0, and of integers x + 0", ("add",), rules.plus_zero),
    Rule("x + x", ("add",), rules.twice),
    Rule("x - 0", ("subtract",), rules.minus_zero),
    Rule("(x * a) * b (rounds)", ("multiply",), rules.numbers_together),
    Rule("x / 2, (x * a) / b (rounds)", ("divide",), rules.divided_numbers_together),
    Rule("--x", ("negative",), rules.double_negative),
    Rule("-(x * a)", ("negative",), rules.negative_of_product),
    Rule("-x * a, -x * -y", ("multiply",), rules.product_with_negative(ew.multiply)),
    Rule("-x / a, -x / -y", ("divide",), rules.product_with_negative(ew.divide)),
    Rule("x + -y", ("add",), rules.plus_negative),
    Rule("x - -y", ("subtract",), rules.minus_negative),
    Rule("x ** 2, 3, 4 (rounds)", ("power",), rules.small_power),
    Rule("stop_gradient, +x", ("stop_gradient", "positive"), rules.identity),
    Rule("real, conj of real numbers", ("real", "conj"), rules.of_real),
    Rule("cast of lossless cast", ("cast",), rules.cast),
    Rule("where of equal sides or of where", ("where",), rules.where),
)
_BY_NAME = by_name(RULES)
