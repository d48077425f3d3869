// Two set attention blocks on scalars and PMA, for many sets of equal size (see folding.py). Each lane of a vector
// holds another set: no sum runs across lanes, no set meets another, and all nine rows of a set share a weight.
// DIM and HEADS are defined by the compiler's command line; the width of a head is a multiple of 8.

#include <cstdint>
#include <cstring>

#define UNROLL _Pragma("GCC unroll 32")

namespace {

#ifdef __AVX512F__
constexpr int BYTES = 64;
#else
constexpr int BYTES = 32;
#endif
typedef float Vector __attribute__((vector_size(BYTES)));
typedef int32_t Integers __attribute__((vector_size(BYTES)));

constexpr int LANES = BYTES / 4, WIDTH = DIM / HEADS, NUMBERS = HEADS + 2, FEATURES = DIM + NUMBERS, TOKENS = 32;

struct Blocks {  // in the order of FoldedBlocks
    const float *slopes, *offsets, *inner, *projections, *feedforward, *feedforward_bias, *pooling, *pooling_bias;
    const float *pooling_keys, *pooling_values, *pooling_query, *last, *last_bias;
};

struct Space {  // what `forward` computes for LANES sets; the backward pass reads all of it
    Vector x[TOKENS], added[DIM], features[TOKENS * FEATURES], variances[TOKENS * HEADS];
    Vector queries[HEADS][TOKENS * WIDTH], keys[HEADS][TOKENS * WIDTH], values[HEADS][TOKENS * WIDTH];
    Vector weights[HEADS][TOKENS * TOKENS], hidden[TOKENS * DIM], mapped[TOKENS * DIM], second[TOKENS * DIM];
    Vector shifts[DIM], pooled[TOKENS * DIM], pool_weights[TOKENS * HEADS], averages[HEADS][DIM];
    Vector last_hidden[DIM], last_mapped[DIM];
};

Vector all(float x) { return x - Vector{}; }
Vector larger(Vector a, Vector b) { return (a > b) | (a != a) ? a : b; }  // NaN of a stays
Vector relu(Vector x) { return larger(x, Vector{}); }

Vector exponential(Vector x) {  // Cephes' expf: an error of about 1e-7; the exponents are not above zero
    x = x < -87.0f ? all(-87.0f) : x;
    const float to_integer = 12582912.0f;  // 1.5 * 2^23: adding it rounds
    Vector power = x * 1.44269504f + to_integer, scale;
    Integers bits;
    std::memcpy(&bits, &power, BYTES);
    bits = (bits - 0x4B400000 + 127) << 23;
    std::memcpy(&scale, &bits, BYTES);
    power -= to_integer;
    const Vector rest = (x - power * 0.693359375f) + power * 2.12194440e-4f;
    Vector sum = rest * 1.9875691500e-4f + 1.3981999507e-3f;
    sum = ((sum * rest + 8.3334519073e-3f) * rest + 4.1665795894e-2f) * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    return (sum * (rest * rest) + (rest + 1.0f)) * scale;
}

struct Map {  // from `inner` numbers to `columns`
    const float *weight;
    int inner, columns;
    const float *bias = nullptr;
};

// Maps R rows to C columns from column `first` on; the sums stay in registers.
template <int R, int C>
void tile(const Vector *rows, int stride, const Map &map, int first, Vector *out, int out_stride) {
    Vector sums[R][C];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int c = 0; c < C; c++) sums[r][c] = all(map.bias ? map.bias[first + c] : 0);
    for (int k = 0; k < map.inner; k++)
        UNROLL for (int c = 0; c < C; c++) {
            const Vector weight = all(map.weight[k * map.columns + first + c]);
            UNROLL for (int r = 0; r < R; r++) sums[r][c] += rows[r * stride + k] * weight;
        }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int c = 0; c < C; c++) out[r * out_stride + first + c] = sums[r][c];
}

template <int R>
void strip(const Vector *rows, int stride, const Map &map, Vector *out, int out_stride) {
    constexpr int C = LANES / 2;  // 3 C sums and 4 factors fit the registers
    int first = 0;
    for (; first + C <= map.columns; first += C) tile<R, C>(rows, stride, map, first, out, out_stride);
    for (; first + 2 <= map.columns; first += 2) tile<R, 2>(rows, stride, map, first, out, out_stride);
    if (first < map.columns) tile<R, 1>(rows, stride, map, first, out, out_stride);
}

void apply(const Map &map, int count, const Vector *rows, int stride, Vector *out, int out_stride) {
    int r = 0;
    for (; r + 3 <= count; r += 3) strip<3>(rows + r * stride, stride, map, out + r * out_stride, out_stride);
    for (; r < count; r++) strip<1>(rows + r * stride, stride, map, out + r * out_stride, out_stride);
}

Vector dot(const Vector *a, const Vector *b, int count) {  // for a multiple of 4
    Vector sums[4] = {};
    for (int c = 0; c < count; c += 4)
        UNROLL for (int i = 0; i < 4; i++) sums[i] += a[c + i] * b[c + i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

void softmax(int tokens, Vector *logits, int stride = 1) {
    Vector top = logits[0], sum{};
    for (int j = 1; j < tokens; j++) top = larger(top, logits[j * stride]);
    for (int j = 0; j < tokens; j++) sum += logits[j * stride] = exponential(logits[j * stride] - top);
    const Vector scale = 1.0f / sum;
    for (int j = 0; j < tokens; j++) logits[j * stride] *= scale;
}

// out = sum_j weights[j] rows[j], for a multiple of 8 columns.
void average(int tokens, const Vector *weights, int weight_stride, const Vector *rows, int stride, int columns,
             Vector *out) {
    for (int c = 0; c < columns; c += 8) {
        Vector sums[8] = {};
        for (int j = 0; j < tokens; j++)
            UNROLL for (int i = 0; i < 8; i++) sums[i] += weights[j * weight_stride] * rows[j * stride + c + i];
        UNROLL for (int i = 0; i < 8; i++) out[c + i] = sums[i];
    }
}

void first_block(int tokens, const Blocks &blocks, Space &space) {
    Vector mean{}, centred[TOKENS], weights[TOKENS];
    for (int i = 0; i < tokens; i++) mean += space.x[i];
    mean /= (float)tokens;
    for (int i = 0; i < tokens; i++) centred[i] = space.x[i] - mean;
    for (int i = 0; i < tokens; i++) {
        Vector *numbers = space.features + i * FEATURES + DIM;
        numbers[0] = space.x[i];
        numbers[NUMBERS - 1] = all(1);
        for (int h = 0; h < HEADS; h++) {
            const Vector tilt = space.x[i] * blocks.slopes[h] + blocks.offsets[h];
            for (int j = 0; j < tokens; j++) weights[j] = tilt * centred[j];
            softmax(tokens, weights);
            Vector first{}, variance{};
            for (int j = 0; j < tokens; j++) first += weights[j] * centred[j];
            for (int j = 0; j < tokens; j++) variance += weights[j] * (centred[j] - first) * (centred[j] - first);
            numbers[1 + h] = first + mean;
            space.variances[i * HEADS + h] = variance;
        }
    }
    apply({blocks.inner, NUMBERS, DIM}, tokens, space.features + DIM, FEATURES, space.features, FEATURES);
    for (int i = 0; i < tokens; i++)
        for (int c = 0; c < DIM; c++) space.features[i * FEATURES + c] = relu(space.features[i * FEATURES + c]);
}

void second_block(int tokens, const Blocks &blocks, Space &space) {
    for (int h = 0; h < HEADS; h++) {
        Vector *const parts[] = {space.queries[h], space.keys[h], space.values[h]};
        for (int part = 0; part < 3; part++) {
            const float *weight = blocks.projections + (part * HEADS + h) * FEATURES * WIDTH;
            apply({weight, FEATURES, WIDTH}, tokens, space.features, FEATURES, parts[part], WIDTH);
        }
        for (int i = 0; i < tokens; i++) {
            const Vector *query = space.queries[h] + i * WIDTH;
            Vector *weights = space.weights[h] + i * tokens, *out = space.hidden + i * DIM + h * WIDTH;
            for (int j = 0; j < tokens; j++) weights[j] = dot(query, space.keys[h] + j * WIDTH, WIDTH);
            softmax(tokens, weights);
            average(tokens, weights, 1, space.values[h], WIDTH, WIDTH, out);
            for (int c = 0; c < WIDTH; c++) out[c] += query[c];
        }
    }
    apply({blocks.feedforward, DIM, DIM, blocks.feedforward_bias}, tokens, space.hidden, DIM, space.mapped, DIM);
    for (int i = 0; i < tokens * DIM; i++) space.second[i] = space.hidden[i] + relu(space.mapped[i]);
}

void pool(int tokens, const Blocks &blocks, Space &space) {
    apply({blocks.pooling, DIM, DIM, blocks.pooling_bias}, 1, space.added, DIM, space.shifts, DIM);
    apply({blocks.pooling, DIM, DIM}, tokens, space.second, DIM, space.pooled, DIM);
    for (int i = 0; i < tokens; i++)
        for (int c = 0; c < DIM; c++) space.pooled[i * DIM + c] = relu(space.pooled[i * DIM + c] + space.shifts[c]);
    apply({blocks.pooling_keys, DIM, HEADS}, tokens, space.pooled, DIM, space.pool_weights, HEADS);
    for (int h = 0; h < HEADS; h++) {
        softmax(tokens, space.pool_weights + h, HEADS);
        average(tokens, space.pool_weights + h, HEADS, space.pooled, DIM, DIM, space.averages[h]);
        const Map map{blocks.pooling_values + h * DIM * WIDTH, DIM, WIDTH, blocks.pooling_query + h * WIDTH};
        apply(map, 1, space.averages[h], DIM, space.last_hidden + h * WIDTH, DIM);
    }
    apply({blocks.last, DIM, DIM, blocks.last_bias}, 1, space.last_hidden, DIM, space.last_mapped, DIM);
}

void gather(int used, const float *rows, int columns, Vector *out) {  // lanes that no set uses get zeros
    std::memset(out, 0, columns * sizeof(Vector));
    for (int lane = 0; lane < used; lane++)
        for (int c = 0; c < columns; c++) out[c][lane] = rows[lane * columns + c];
}

void scatter(int used, const Vector *columns, int count, float *rows) {
    for (int c = 0; c < count; c++)
        for (int lane = 0; lane < used; lane++) rows[lane * count + c] = columns[c][lane];
}

// Reads the sets from `first` on, and returns how many lanes they use.
int forward(int64_t first, int64_t sets, int tokens, const float *x, const float *added, const Blocks &blocks,
            Space &space) {
    const int used = sets - first < LANES ? sets - first : LANES;
    gather(used, x + first * tokens, tokens, space.x);
    gather(used, added + first * DIM, DIM, space.added);
    first_block(tokens, blocks, space);
    second_block(tokens, blocks, space);
    pool(tokens, blocks, space);
    return used;
}

thread_local Space space;

}  // namespace

extern "C" void encode(int64_t sets, int tokens, const float *x, const float *added, const Blocks *blocks, float *out) {
    for (int64_t first = 0; first < sets; first += LANES) {
        const int used = forward(first, sets, tokens, x, added, *blocks, space);
        Vector result[DIM];
        for (int c = 0; c < DIM; c++) result[c] = space.last_hidden[c] + relu(space.last_mapped[c]);
        scatter(used, result, DIM, out + first * DIM);
    }
}
