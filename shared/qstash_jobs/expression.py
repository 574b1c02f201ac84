"""The arithmetic of `Upstash-Retry-Delay`, e.g. `min(60000, 1000 * pow(2, retried))`: QStash waits by it between retries,
so the record can say when the next attempt is expected, and a wrong one is refused where it is written.

The text is parsed to a tree and the tree is walked here, node by node: it is never given to Python to run. All numbers
are floats, so no expression can ask for much time or memory.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from functools import lru_cache

LONGEST_TEXT = 512
DAY_SECONDS = 86_400.0

Evaluate = Callable[[float], float]
"""A compiled (part of an) expression: the value for a number of `retried`."""


def _round(value: float) -> float:
    """Half away from zero, as in most languages but Python."""
    return math.copysign(math.floor(abs(value) + 0.5), value)


_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}

_ANY_NUMBER = None
_FUNCTIONS: dict[str, tuple[int | None, Callable[..., float]]] = {
    "pow": (2, math.pow),
    "exp": (1, math.exp),
    "sqrt": (1, math.sqrt),
    "abs": (1, math.fabs),
    "floor": (1, lambda value: float(math.floor(value))),
    "ceil": (1, lambda value: float(math.ceil(value))),
    "round": (1, _round),
    "min": (_ANY_NUMBER, lambda *values: min(values)),
    "max": (_ANY_NUMBER, lambda *values: max(values)),
}


def retry_delay_seconds(expression: str | None, retried: int) -> float:
    """QStash's wait before its next retry, when it has tried again `retried` times already: at most a day.

    Without an expression, or where it has no value, e^(2.5 n) seconds. Source:
    https://upstash.com/docs/qstash/features/retry
    """
    if expression is not None:
        try:
            milliseconds = compile_expression(expression)(float(retried))
        except OverflowError:
            milliseconds = math.inf
        except (ArithmeticError, ValueError):
            milliseconds = math.nan
        if not math.isnan(milliseconds):
            return min(max(milliseconds / 1_000, 0.0), DAY_SECONDS)
    return min(DAY_SECONDS, math.exp(min(2.5 * (retried + 1), 700.0)))


@lru_cache(maxsize=1024)
def compile_expression(text: str) -> Evaluate:
    """The function from `retried` to milliseconds that `text` describes. Raises ValueError with the reason.

    The result raises ArithmeticError or ValueError where arithmetic does (division by zero, the root of -1).
    """
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"the expression is longer than {LONGEST_TEXT} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return _compile(tree.body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError("the expression is not well formed") from error


def _compile(node: ast.expr) -> Evaluate:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _constant(value)
        case ast.Name(id="retried"):
            return lambda retried: retried
        case ast.UnaryOp(op=unary, operand=operand) if type(unary) in _UNARY:
            apply, inner = _UNARY[type(unary)], _compile(operand)
            return lambda retried: apply(inner(retried))
        case ast.BinOp(left=left, op=binary, right=right) if type(binary) in _BINARY:
            combine, first, second = _BINARY[type(binary)], _compile(left), _compile(right)
            return lambda retried: combine(first(retried), second(retried))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _call(name, arguments)
        case ast.Name(id=name) | ast.Call(func=ast.Name(id=name)) if name not in _FUNCTIONS:
            raise ValueError(f"{name!r} is not known; there are retried, {', '.join(_FUNCTIONS)}")
    raise ValueError("only numbers, retried, + - * /, parentheses and functions can be used")


def _constant(value: float) -> Evaluate:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    return lambda _retried: number


def _call(name: str, arguments: list[ast.expr]) -> Evaluate:
    arity, function = _FUNCTIONS[name]
    if not arguments or (arity is not None and len(arguments) != arity):
        raise ValueError(f"{name} takes {arity or 'one or more'} argument(s), not {len(arguments)}")
    compiled = [_compile(argument) for argument in arguments]
    return lambda retried: function(*(argument(retried) for argument in compiled))
