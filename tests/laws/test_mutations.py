"""Proof that the laws can fail: one rule of one primitive made wrong is found, and nothing else is blamed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from catalog import ROWS, RULE
from laws import test_laws as laws

import knet
import knet.numpy as knp
from knet.core import registry
from knet.core.primitive import LINEAR, MULTILINEAR, ZERO, Linear

NAMES = ("exp", "multiply", "matmul", "reduce_max", "conv", "take", "logsumexp", "unstack")
WRONG = 1 + 1e-4

REVERSE = laws.Law(laws.law_reverse_mode_is_what_differences_say, laws.differentiable)
FORWARD = laws.Law(laws.law_forward_and_reverse_mode_agree, laws.differentiable)
LOOP = laws.Law(laws.law_vmap_is_a_loop, laws.batchable)
NO_LOOP = laws.Law(laws.law_vmap_never_loops, laws.batchable)
SHAPES = laws.Law(laws.law_eval_shape_is_the_shape_of_the_result, laws.in_every_dtype)
LIKENESS = laws.Law(laws.law_cotangents_and_tangents_are_like_their_primals, laws.in_every_float)
SECOND = (
    laws.Law(laws.law_derivatives_of_reverse_mode_agree, laws.differentiable),
    laws.Law(laws.law_derivatives_of_forward_mode_agree, laws.differentiable),
)


# --- mutations --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def mutated(name: str, **changes: Any) -> Iterator[None]:
    """Context in which a primitive has other rules: vjp, jvp, batch or aval."""
    primitive = registry[name]
    before = {attribute: getattr(primitive, attribute) for attribute in changes}

    def put(values: dict[str, Any]) -> None:
        for attribute, value in values.items():
            if attribute == "vjp":
                primitive.define_vjp(value)  # which also forgets the plans made with the old one
            else:
                setattr(primitive, attribute, value)

    put(changes)
    try:
        yield
    finally:
        put(before)


def scaled(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A derivative rule with a result that is a little too large."""

    def wrong(g: Any, y: Any, *xs: Any, **params: Any) -> Any:
        c = rule(g, y, *xs, **params)
        return None if c is None else c * WRONG

    return wrong


def with_rule(name: str, i: int, change: Callable[[Any], Any]) -> Any:
    """The primitive's vjp with the rule of one operand changed."""
    vjp = registry[name].vjp
    if not isinstance(vjp, tuple):
        return change(vjp)
    return tuple(change(rule) if j == i else rule for j, rule in enumerate(vjp))


def operands_with_a_rule(name: str) -> list[int]:
    return [i for i, kind in enumerate(ROWS[name].grads) if kind == RULE]


def breaks(law: laws.Law, name: str) -> bool:
    """Whether the law fails for the primitive, with a message that begins with its name."""
    try:
        law(name)
    except AssertionError as e:
        assert str(e).startswith(f"{name}: "), f"the failure of {name} does not name it: {e}"
        return True
    return False


def assert_breaks_alone(law: laws.Law, name: str) -> None:
    assert breaks(law, name), f"{laws.title(law)} does not see the wrong rule of {name}"
    # Every other derivative; of the batching rules, whose law takes longer, a selection.
    others = [n for n in ROWS if laws.has_derivative(n)] if law is REVERSE else [*NAMES, *list(ROWS)[::5]]
    others = [n for n in others if n != name and not (name in laws.OF_PARTS and laws.has_complex_numbers(n))]
    blamed = [n for n in others if breaks(law, n)]
    assert not blamed, f"{laws.title(law)} blames {blamed} for the wrong rule of {name}"


# --- reverse mode -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_vjp_wrong_by_one_part_in_ten_thousand_is_found(name):
    for i in operands_with_a_rule(name):
        with mutated(name, vjp=with_rule(name, i, scaled)):
            assert_breaks_alone(REVERSE, name)
            if isinstance(registry[name].jvp, Linear):
                assert breaks(FORWARD, name), "forward mode, which does not use the rule, disagrees with it"
    assert not breaks(REVERSE, name), "the right rule is back"


@pytest.mark.parametrize("name", NAMES)
def test_a_deleted_vjp_is_found(name):
    for i in operands_with_a_rule(name):
        for nothing in (ZERO, "deleted"):
            with mutated(name, vjp=with_rule(name, i, lambda _, nothing=nothing: nothing)):
                assert breaks(REVERSE, name)
    assert not breaks(REVERSE, name)


def test_a_rule_that_only_the_second_derivative_sees_is_found():
    # The value of the first derivative is right, but its dependence on x is hidden from the next one.
    hidden = lambda g, y, x: g * knet.stop_gradient(y)  # noqa: E731
    with mutated("exp", vjp=(hidden,)):
        assert not breaks(REVERSE, "exp") and not breaks(FORWARD, "exp")
        assert all(breaks(law, "exp") for law in SECOND)


def test_a_rule_that_is_not_linear_in_its_cotangent_is_found():
    with mutated("sin", vjp=(lambda g, _y, x: g * knp.cos(x) + 1e-4 * g * g,)):
        assert breaks(REVERSE, "sin") and breaks(FORWARD, "sin")


def test_a_cotangent_of_the_wrong_dtype_is_found():
    def widened(rule):
        return lambda g, y, x, w: rule(g, y, x, w).astype(knp.float64)

    with mutated("matmul", vjp=with_rule("matmul", 0, widened)):
        assert breaks(LIKENESS, "matmul")


# --- forward mode -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("exp", "multiply")])
def test_a_jvp_wrong_by_one_part_in_ten_thousand_is_found(name):
    # Elementwise primitives push tangents by their vjp, which is mutated above; the others take a rule in place of what
    # is declared or transposed.
    from knet.core import forward

    primitive = registry[name]
    declared = primitive.jvp

    def wrong(primals: Any, tangents: Any, y: Any, **params: Any) -> Any:
        with mutated(name, jvp=declared):
            push = forward.push_multiple if primitive.multiple else forward.push
            t = push(primitive, primals, tangents, y, params)
        return knet.tree.map(lambda t: t * WRONG, t)

    with mutated(name, jvp=wrong):
        assert breaks(FORWARD, name) and not breaks(REVERSE, name)
    assert not breaks(FORWARD, name)


def test_a_deleted_jvp_is_found():
    for name, less in (
        ("matmul", MULTILINEAR(0)),
        ("conv", MULTILINEAR(1)),
        ("take", lambda primals, tangents, y, **params: None),
        ("put_add", LINEAR(0)),
    ):
        with mutated(name, jvp=less):
            assert breaks(FORWARD, name), f"{name} with a term of its jvp left out"
        assert not breaks(FORWARD, name)


def test_a_false_claim_of_linearity_is_found():
    for name, claim in (("logsumexp", LINEAR()), ("matmul", LINEAR()), ("reduce_max", LINEAR(0))):
        with mutated(name, jvp=claim):
            assert breaks(laws.LINEARITY, name) and breaks(FORWARD, name), f"{name} declared {claim}"


# --- vmap -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_batching_rule_wrong_by_one_part_in_ten_thousand_is_found(name):
    rule = registry[name].batch

    def wrong(*args: Any, **params: Any) -> Any:
        return knet.tree.map(lambda y: y * WRONG, rule(*args, **params))

    with mutated(name, batch=wrong):
        assert_breaks_alone(LOOP, name)
    assert not breaks(LOOP, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_deleted_batching_rule_is_found(name):
    with mutated(name, batch="deleted"):
        assert breaks(LOOP, name) and breaks(NO_LOOP, name)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "unstack"])
def test_a_batching_rule_that_loops_is_found(name):
    def loop(primitive: Any, args: Any, batched: Any, size: int, **params: Any) -> Any:
        rows = [primitive(*[x[k] if b else x for x, b in zip(args, batched)], **params) for k in range(size)]
        return knp.stack(rows)

    with mutated(name, batch=loop):
        assert not breaks(LOOP, name), "a loop is slow, not wrong"
        assert breaks(NO_LOOP, name)


def test_examples_that_are_mixed_up_are_found():
    rule = registry["multiply"].batch
    with mutated("multiply", batch=lambda *args, **params: knp.flip(rule(*args, **params), axis=0)):
        assert breaks(LOOP, "multiply")


# --- shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_shape_rule_is_found(on_cpu, name):
    """On the CPU, whose results have shapes of their own: kernels' results are made by the rule."""
    rule = registry[name].aval

    def wrong(*avals: Any, **params: Any) -> Any:
        return knet.tree.map(lambda a: type(a)((*a.shape, 1), a.dtype), rule(*avals, **params))

    with mutated(name, aval=wrong):
        assert breaks(SHAPES, name)
    assert not breaks(SHAPES, name)


def test_a_law_without_subjects_fails():
    with pytest.raises(AssertionError, match="checked on nothing"):
        REVERSE("argmax")
