"""Vector instructions for the kernels, which Numba would not write by itself.

All take addresses of numbers.
"""

from llvmlite import ir
from numba import config, types
from numba.core import cgutils, codegen
from numba.extending import intrinsic


def _features():
    """Return the names of what Numba compiles for, not of all there is.

    `NUMBA_CPU_NAME`, `NUMBA_CPU_FEATURES` and `NUMBA_ENABLE_AVX` choose less.
    Other processors' features have other names.
    """
    features = config.CPU_FEATURES
    if features is None:
        features = codegen.get_host_cpu_features()
    return features.split(",")


AVX512 = "+avx512f" in _features()

INT8, INT16, INT32, INT64 = (ir.IntType(x) for x in (8, 16, 32, 64))
FLOAT = ir.FloatType()

# Values that are found as bits of a vector, and how many of them a register of
# AVX-512 holds.
VECTOR, HALF = 32, 16


def pointer(builder, address, kind):
    return builder.inttoptr(address, kind.as_pointer())


def all_lanes(builder, x, lanes):
    """Return a vector of one number."""
    vector = ir.Constant(ir.VectorType(x.type, lanes), ir.Undefined)
    vector = builder.insert_element(vector, x, INT32(0))
    places = ir.Constant(ir.VectorType(INT32, lanes), None)
    return builder.shuffle_vector(vector, vector, places)


def row_sums(lanes, unit, quantized, both=False):
    """Return the function that adds a list of spikes to neighbouring outputs.

    Args:
        lanes: Outputs of a vector.
        unit: Whether all spikes have the value 1; then `values` is not read.
        quantized: Whether weights are int8. Ones are then added up in int16,
            no more than `MOST_ONES` at once, and these sums in int32.
        both: Whether there are two vectors, at the first and at the last of
            the outputs. Where they overlap both come to the same sum.
    """
    floats = ir.VectorType(FLOAT, lanes)
    counts = ir.VectorType(INT32, lanes)
    row_kind = ir.VectorType(INT8, lanes) if quantized else floats
    short = quantized and unit
    kind = ir.VectorType(INT16, lanes) if short else floats
    size = 1 if quantized else 4

    @intrinsic
    def row_sum(
        typing, width, out, weights, stride, indices, values, first, last
    ):
        """out[:] += sum_{first <= e < last} values[e] * weights[indices[e], :].

        Takes addresses of numbers; `width` is the number of outputs, `stride`
        that of bytes of a whole row of `weights`.
        """

        def emit(context, builder, signature, arguments):
            width, out, weights, stride, indices, values, first, last = (
                arguments
            )
            places = [INT64(0)]
            if both:
                places.append(builder.sub(width, INT64(lanes)))
            outs, columns = (
                [
                    builder.add(address, builder.mul(x, INT64(bytes_)))
                    for x in places
                ]
                for address, bytes_ in ((out, 4), (weights, size))
            )
            before = builder.block
            head = builder.append_basic_block("head")
            body = builder.append_basic_block("body")
            done = builder.append_basic_block("done")
            targets = [
                pointer(builder, x, counts if short else kind) for x in outs
            ]
            starts = [ir.Constant(kind, None)] * len(targets)
            if not short:
                starts = [builder.load(x, align=4) for x in targets]
            builder.branch(head)

            builder.position_at_end(head)
            event = builder.phi(INT64)
            event.add_incoming(first, before)
            totals = [builder.phi(kind) for _ in targets]
            for total, start in zip(totals, starts):
                total.add_incoming(start, before)
            more = builder.icmp_signed("<", event, last)
            builder.cbranch(more, body, done)

            builder.position_at_end(body)
            offset = builder.shl(event, INT64(2))
            index = builder.load(
                pointer(builder, builder.add(indices, offset), INT32), align=4
            )
            address = builder.mul(builder.sext(index, INT64), stride)
            if not unit:
                value = builder.load(
                    pointer(builder, builder.add(values, offset), FLOAT),
                    align=4,
                )
                value = all_lanes(builder, value, lanes)
            event.add_incoming(builder.add(event, INT64(1)), body)
            for total, column in zip(totals, columns):
                row = builder.load(
                    pointer(builder, builder.add(column, address), row_kind),
                    align=size,
                )
                if short:
                    added = builder.add(total, builder.sext(row, kind))
                else:
                    if quantized:
                        row = builder.sitofp(row, kind)
                    if unit:
                        added = builder.fadd(total, row)
                    else:
                        # May become one instruction, rounded once.
                        term = builder.fmul(value, row, flags=("contract",))
                        added = builder.fadd(total, term, flags=("contract",))
                total.add_incoming(added, body)
            builder.branch(head)

            builder.position_at_end(done)
            results = totals
            if short:
                results = [
                    builder.add(
                        builder.load(x, align=4), builder.sext(total, counts)
                    )
                    for x, total in zip(targets, totals)
                ]
            for x, result in zip(targets, results):
                builder.store(result, x, align=4)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 8), emit

    return row_sum


def nonzero_bits_of(element, compare):
    """Return the function that finds values that are not zero, as bits."""
    kind = ir.VectorType(element, VECTOR)

    @intrinsic
    def nonzero_bits(typing, address):
        """Return which of the `VECTOR` values at `address` are not zero."""

        def emit(context, builder, signature, arguments):
            values = builder.load(pointer(builder, *arguments, kind), align=1)
            found = getattr(builder, compare)(
                "!=", values, ir.Constant(kind, None)
            )
            return builder.bitcast(found, INT32)

        return types.uint32(types.intp), emit

    return nonzero_bits


@intrinsic
def ones(typing, word):
    """Return the number of ones among the bits of an integer."""

    def emit(context, builder, signature, arguments):
        return builder.ctpop(*arguments)

    return word(word), emit


@intrinsic
def lowest_bit(typing, bits):
    """Return the position of the lowest 1 in `bits`, which are not 0."""

    def emit(context, builder, signature, arguments):
        position = builder.cttz(*arguments, ir.Constant(ir.IntType(1), 1))
        return builder.zext(position, INT64)

    return types.intp(types.uint32), emit


nonzero_floats = nonzero_bits_of(FLOAT, "fcmp_unordered")
nonzero_bytes = nonzero_bits_of(INT8, "icmp_unsigned")


def _places_from(builder, first):
    kind = ir.VectorType(INT32, VECTOR)
    first = all_lanes(builder, builder.trunc(first, INT32), VECTOR)
    steps = ir.Constant(kind, [INT32(j) for j in range(VECTOR)])
    return builder.add(first, steps)


def _values_at(builder, address):
    kind = ir.VectorType(FLOAT, VECTOR)
    return builder.load(pointer(builder, address, kind), align=4)


def _compressing(given, name):
    """Return the function that writes those of a vector that bits say.

    Args:
        given: Function of a builder and a number, which gives the vector.
        name: Of the kind of its elements.
    """

    @intrinsic
    def compress(typing, bits, number, address):
        """Write them to `address`; return how many there are.

        What is behind them is overwritten, up to `VECTOR` elements in all.
        """

        def emit(context, builder, signature, arguments):
            bits, number, address = arguments
            vector, begin = given(builder, number), address
            half = ir.VectorType(vector.type.element, HALF)
            mask = ir.VectorType(ir.IntType(1), HALF)
            # Some processors take very long to write so to memory at once.
            compress = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(half, (half, half, mask)),
                f"llvm.x86.avx512.mask.compress.v{HALF}{name}",
            )
            nothing = ir.Constant(half, ir.Undefined)
            for first in range(0, VECTOR, HALF):
                places = [INT32(first + j) for j in range(HALF)]
                places = ir.Constant(ir.VectorType(INT32, HALF), places)
                part = builder.shuffle_vector(vector, vector, places)
                which = builder.trunc(builder.lshr(bits, INT32(first)), INT16)
                chosen = builder.bitcast(which, mask)
                part = builder.call(compress, (part, nothing, chosen))
                builder.store(part, pointer(builder, address, half), align=4)
                size = builder.shl(builder.ctpop(which), INT16(2))
                address = builder.add(address, builder.zext(size, INT64))
            return builder.lshr(builder.sub(address, begin), INT64(2))

        return types.intp(types.uint32, types.intp, types.intp), emit

    return compress


compress_places = _compressing(_places_from, "i32")
compress_values = _compressing(_values_at, "f32")
