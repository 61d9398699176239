"""Steps of neighbouring neurons in vector instructions, surrogates included.

All take addresses of numbers.
"""

import math

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from keras_snn_runtime.vectors import (
    FLOAT,
    INT8,
    INT32,
    INT64,
    all_lanes,
    pointer,
)

# Sums of `neuron_steps`: the number of spikes, and what the rate rule wants.
CREDIT = "credit"


def _exp(builder, x):
    """Return exp(x) of a vector within 1e-7 of it.

    2^n e^r with |r| < 0.35: the polynomial is that of Cephes.
    """
    number = _Numbers(builder, x.type)
    low, high = map(number.of, (-87.0, 88.0))
    # What is no number passes.
    x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
    x = builder.select(builder.fcmp_ordered(">", x, high), high, x)
    # The lowest bits of 1.5 * 2^23 + n are those of n.
    magic = number.of(12582912.0)
    shifted = number.times_plus(x, 1.44269504, magic)
    n = builder.fsub(shifted, magic)
    # ln 2 in two numbers, so that n times the first one is exact.
    r = number.times_plus(n, -0.693359375, x)
    r = number.times_plus(n, 2.12194440e-4, r)
    y = number.of(1.9875691500e-4)
    for c in (
        1.3981999507e-3,
        8.3334519073e-3,
        4.1665795894e-2,
        1.6666665459e-1,
        5.0000001201e-1,
        1.0,
        1.0,
    ):
        y = number.times_plus(y, r, number.of(c))
    integers = ir.VectorType(INT32, x.type.count)
    each = [INT32(23)] * x.type.count, [INT32(127 << 23)] * x.type.count
    shift, bias = (ir.Constant(integers, x) for x in each)
    power = builder.shl(builder.bitcast(shifted, integers), shift)
    power = builder.bitcast(builder.add(power, bias), x.type)
    return builder.fmul(y, power)


class _Numbers:
    """Arithmetic of vectors, and numbers as vectors."""

    def __init__(self, builder, kind):
        self.builder, self.kind = builder, kind

    def of(self, x):
        return ir.Constant(self.kind, [FLOAT(x)] * self.kind.count)

    def times_plus(self, x, y, z):
        """Return `x * y + z`, which may be rounded once."""
        y = self.of(y) if isinstance(y, float) else y
        product = self.builder.fmul(x, y, flags=("contract",))
        return self.builder.fadd(product, z, flags=("contract",))

    def size_of(self, x):
        below = self.builder.fcmp_ordered("<", x, self.of(0.0))
        return self.builder.select(below, self.builder.fneg(x), x)


def _slopes(builder, kind, parameter, x):
    """Return a surrogate's derivatives at `x`, numbered as in `SURROGATES`.

    Args:
        builder: Where to; it continues behind them.
        kind: The surrogate's number.
        parameter: Its parameter, and `x`: vectors.
    """
    number = _Numbers(builder, x.type)
    one, half, zero = map(number.of, (1.0, 0.5, 0.0))

    def arctan():
        scaled = builder.fmul(
            builder.fmul(number.of(math.pi / 2), parameter), x
        )
        below = number.times_plus(scaled, scaled, one)
        return builder.fdiv(builder.fmul(half, parameter), below)

    def fast_sigmoid():
        below = number.times_plus(parameter, number.size_of(x), one)
        return builder.fdiv(one, builder.fmul(below, below))

    def sigmoid():
        # y (1 - y) is the same on both sides, where exp is at most 1.
        e = _exp(
            builder, builder.fmul(builder.fneg(parameter), number.size_of(x))
        )
        below = builder.fadd(one, e)
        above = builder.fmul(parameter, e)
        return builder.fdiv(above, builder.fmul(below, below))

    def triangle():
        part = builder.fdiv(number.size_of(x), parameter)
        part = builder.fsub(one, part)
        below = builder.fcmp_ordered("<", part, zero)
        return builder.fdiv(builder.select(below, zero, part), parameter)

    def boxcar():
        inside = builder.fcmp_ordered("<=", number.size_of(x), parameter)
        slope = builder.fdiv(half, parameter)
        return builder.select(inside, slope, zero)

    entry = builder.block
    made = [arctan, fast_sigmoid, sigmoid, triangle, boxcar]
    blocks = [builder.append_basic_block(x.__name__) for x in made]
    behind = builder.append_basic_block("slopes")
    found = []
    for block, make in zip(blocks, made):
        builder.position_at_end(block)
        found.append((make(), builder.block))
        builder.branch(behind)
    builder.position_at_end(entry)
    choice = builder.switch(kind, blocks[-1])
    for n, block in enumerate(blocks[:-1]):
        choice.add_case(INT64(n), block)
    builder.position_at_end(behind)
    slopes = builder.phi(x.type)
    for value, block in found:
        slopes.add_incoming(value, block)
    return slopes


class _Neurons:
    """The step of neighbouring neurons.

    Args:
        lanes: Number of neurons.
        sums: As in `neuron_steps`.
    """

    def __init__(self, lanes, sums):
        self.lanes, self.sums = lanes, sums
        self.others = 3 if sums == CREDIT else sums
        self.floats, self.bytes = (
            ir.VectorType(x, lanes) for x in (FLOAT, INT8)
        )
        self.zero, self.one = (
            ir.Constant(self.floats, [FLOAT(x)] * lanes) for x in (0, 1)
        )

    def loop(self, builder, starts, steps, step):
        """Write a loop over steps.

        Args:
            builder: Where to; it continues behind the loop.
            starts: What is known before the first step, a list.
            steps: Number of steps, at least 1.
            step: Function of a step's number, and of what is known before it,
                which gives what is known after it.

        Returns:
            What is known after the last one.
        """
        entry = builder.block
        body = builder.append_basic_block("body")
        done = builder.append_basic_block("done")
        builder.branch(body)
        builder.position_at_end(body)
        t = builder.phi(INT64)
        t.add_incoming(INT64(0), entry)
        state = [builder.phi(x.type) for x in starts]
        for value, start in zip(state, starts):
            value.add_incoming(start, entry)
        after = step(t, state)
        following = builder.add(t, INT64(1))
        last = builder.block
        t.add_incoming(following, last)
        for value, x in zip(state, after):
            value.add_incoming(x, last)
        more = builder.icmp_signed("<", following, steps)
        builder.cbranch(more, body, done)
        builder.position_at_end(done)
        return after

    def step(self, builder, state, current, numbers, before, t):
        """Fire, `v = beta * (u - amount * s) * (factor if s else 1)`.

        The potential is `u = v + current`, and `s` whether it is above the
        threshold.

        Args:
            builder: Where to.
            state: Potentials, and total, last and trace or total, derivative
                and eligibility.
            current: Currents.
            numbers, before: As in `neuron_steps`, the numbers as vectors.
            t: Number of the step after `before`.

        Returns:
            Tuple: who fires, and what the state is then.
        """
        zero, one = self.zero, self.one
        beta, threshold, amount, factor, parameter = numbers
        u = builder.fadd(state[0], current)
        fired = builder.fcmp_ordered(">", u, threshold)
        v = builder.fsub(u, builder.select(fired, amount, zero))
        v = builder.fmul(v, builder.select(fired, factor, one))
        after = [builder.fmul(beta, v)]
        ones = builder.select(fired, one, zero)
        if self.sums == CREDIT:
            slope = _slopes(
                builder, before, parameter, builder.fsub(u, threshold)
            )
            subtract = builder.fcmp_ordered("!=", factor, zero)
            e = builder.fadd(one, state[3])
            kept = builder.select(
                subtract,
                builder.fsub(one, builder.fmul(amount, slope)),
                builder.fsub(builder.fsub(one, ones), builder.fmul(u, slope)),
            )
            after.append(builder.fadd(state[1], ones))
            after.append(builder.fadd(state[2], builder.fmul(slope, e)))
            after.append(builder.fmul(builder.fmul(beta, kept), e))
        elif self.sums:
            now = builder.add(builder.add(before, t), INT64(1))
            now = builder.sitofp(now, FLOAT)
            now = all_lanes(builder, now, self.lanes)
            after.append(builder.fadd(state[1], ones))
            after.append(builder.select(fired, now, state[2]))
        if self.sums == 3:
            after.append(builder.fadd(builder.fmul(beta, state[3]), ones))
        return fired, after


def neuron_steps(lanes, sums):
    """Return the function that takes neighbouring neurons through some steps.

    What is known of them stays in registers meanwhile.

    Args:
        lanes: Number of neurons.
        sums: How many sums are kept of their spikes: none; 2, their number
            and the time of the last one; 3, leaky traces as well. `CREDIT`:
            their number, and derivatives and eligibilities of the rate rule.
    """
    neurons = _Neurons(lanes, sums)
    floats, bytes_ = neurons.floats, neurons.bytes
    mask = ir.IntType(lanes)

    @intrinsic
    def take_steps(typing, places, strides, numbers, before, steps):
        """Take the steps of `_Neurons.step`.

        Args:
            places: Of currents, spikes (which are bytes), potentials, and of
                total, last and trace or total, derivative and eligibility.
            strides: Bytes between the currents and the spikes of two steps.
            numbers: beta, threshold, amount, factor, and the surrogate's
                parameter.
            before: Number of steps before these; with `CREDIT` the number of
                the surrogate.
            steps: Number of steps, at least 1.

        Returns:
            Whether a potential is no number.
        """

        def emit(context, builder, signature, arguments):
            kinds = signature.args
            places, strides, numbers = (
                cgutils.unpack_tuple(builder, x, len(kind))
                for x, kind in zip(arguments[:3], kinds)
            )
            before, steps = arguments[3:]
            numbers = [all_lanes(builder, x, lanes) for x in numbers]
            targets = [
                pointer(builder, x, floats)
                for x in places[2 : 3 + neurons.others]
            ]
            starts = [builder.load(x, align=4) for x in targets]

            def step(t, state):
                currents, spikes = (
                    builder.add(x, builder.mul(t, stride))
                    for x, stride in zip(places, strides)
                )
                current = builder.load(
                    pointer(builder, currents, floats), align=4
                )
                fired, after = neurons.step(
                    builder, state, current, numbers, before, t
                )
                builder.store(
                    builder.zext(fired, bytes_),
                    pointer(builder, spikes, bytes_),
                    align=1,
                )
                return after

            after = neurons.loop(builder, starts, steps, step)
            for x, target in zip(after, targets):
                builder.store(x, target, align=4)
            missing = builder.fcmp_unordered("uno", after[0], after[0])
            missing = builder.bitcast(missing, mask)
            return builder.icmp_unsigned("!=", missing, mask(0))

        tuples = (types.intp, 6), (types.intp, 2), (types.float32, 5)
        return types.boolean(
            *[types.UniTuple(*x) for x in tuples], types.intp, types.intp
        ), emit

    return take_steps


def neuron_histories(lanes, sums):
    """Return the function that takes neighbouring neurons through all steps.

    Args:
        lanes, sums: As in `neuron_steps`; not without sums.
    """
    neurons = _Neurons(lanes, sums)
    floats = neurons.floats

    @intrinsic
    def take_all_steps(typing, places, stride, numbers, kind, steps, words):
        """Take all steps, as many as a word has bits at most.

        Args:
            places: Of currents, of what these are multiplied by and of what
                is then added; and of what is written: spikes, and total, last
                and trace. With `CREDIT` that of the last is the mean
                derivative's, and there are no others.
            stride: Bytes between the currents of two steps.
            numbers: beta, threshold, amount, factor, the surrogate's
                parameter, and the potential before the first step.
            kind: With `CREDIT` the number of the surrogate.
            steps: Number of steps, at least 1.
            words: Array of the type of the words that spikes are written as.
        """

        def emit(context, builder, signature, arguments):
            places, numbers = (
                cgutils.unpack_tuple(builder, arguments[n], count)
                for n, count in ((0, 7), (2, 6))
            )
            stride, kind, steps = (arguments[n] for n in (1, 3, 4))
            size = words.dtype.bitwidth
            histories = ir.VectorType(ir.IntType(size), lanes)
            *numbers, initial = (all_lanes(builder, x, lanes) for x in numbers)
            scale, shift = (
                builder.load(pointer(builder, x, floats), align=4)
                for x in places[1:3]
            )
            before = kind if sums == CREDIT else INT64(0)

            def step(t, known):
                place = builder.add(places[0], builder.mul(t, stride))
                current = builder.load(pointer(builder, place, floats), align=4)
                current = builder.fmul(scale, current, flags=("contract",))
                current = builder.fadd(current, shift, flags=("contract",))
                history, *state = known
                fired, after = neurons.step(
                    builder, state, current, numbers, before, t
                )
                history = builder.add(history, history)
                history = builder.or_(history, builder.zext(fired, histories))
                return [history, *after]

            nothing = ir.Constant(histories, None)
            starts = [nothing, initial, *[neurons.zero] * neurons.others]
            history, _, *found = neurons.loop(builder, starts, steps, step)
            target = pointer(builder, places[3], histories)
            builder.store(history, target, align=size // 8)
            if sums == CREDIT:
                count = builder.sitofp(steps, FLOAT)
                count = all_lanes(builder, count, lanes)
                found = [builder.fdiv(found[1], count)]
            first = 5 if sums == CREDIT else 4
            for x, place in zip(found, places[first:]):
                builder.store(x, pointer(builder, place, floats), align=4)
            return context.get_dummy_value()

        return types.void(
            types.UniTuple(types.intp, 7),
            types.intp,
            types.UniTuple(types.float32, 6),
            types.intp,
            types.intp,
            words,
        ), emit

    return take_all_steps
