// The backward pass of scalar_sets.cpp, which computes each LANES sets again before. The width of a head is a multiple
// of LANES. Gradients of parameters are sums over lanes: products of `turned` rows, whose lanes are columns.

#include "scalar_sets.cpp"

namespace {

struct Gradients {  // in the order of FoldedBlocks
    float *slopes, *offsets, *inner, *projections, *feedforward, *feedforward_bias, *pooling, *pooling_bias;
    float *pooling_keys, *pooling_values, *pooling_query, *last, *last_bias;
};

struct Transposed {
    float inner[DIM * NUMBERS], projections[3 * DIM * FEATURES], feedforward[DIM * DIM], pooling[DIM * DIM];
    float values[HEADS][WIDTH * DIM], last[DIM * DIM];
};

struct BackwardSpace {
    Vector added[DIM], averages[HEADS][DIM], logits[TOKENS * HEADS], last[DIM], inside[TOKENS * DIM];
    Vector hidden[TOKENS * DIM], part[TOKENS * DIM], projected[TOKENS * 3 * DIM], features[TOKENS * FEATURES];
    Vector numbers[TOKENS * NUMBERS], turned[TOKENS * 3 * DIM], slopes[HEADS], offsets[HEADS];
    alignas(64) float projections[FEATURES * 3 * DIM], keys[HEADS * DIM];  // gradients, transposed
};

#ifdef __AVX512F__
Vector low(Vector a, Vector b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
Vector high(Vector a, Vector b) {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
#else
Vector low(Vector a, Vector b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
Vector high(Vector a, Vector b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
#endif

// [tokens, columns, lanes] to [tokens, lanes, columns]: interleaving halves log2(LANES) times transposes a square.
void turn(int tokens, const Vector *rows, int columns, Vector *turned) {
    for (int t = 0; t < tokens; t++)
        for (int c = 0; c < columns / LANES; c++) {
            Vector square[LANES], next[LANES];
            UNROLL for (int i = 0; i < LANES; i++) square[i] = rows[t * columns + c * LANES + i];
            UNROLL for (int stage = 1; stage < LANES; stage *= 2) {
                UNROLL for (int i = 0; i < LANES / 2; i++) {
                    next[2 * i] = low(square[i], square[i + LANES / 2]);
                    next[2 * i + 1] = high(square[i], square[i + LANES / 2]);
                }
                UNROLL for (int i = 0; i < LANES; i++) square[i] = next[i];
            }
            UNROLL for (int i = 0; i < LANES; i++) turned[(t * LANES + i) * (columns / LANES) + c] = square[i];
        }
}

Vector load(const float *at) {
    Vector x;
    std::memcpy(&x, at, BYTES);
    return x;
}

// Adds the products of left's columns and of the turned rows, summed over tokens and lanes, for a tile of both.
template <int K, int C>
void add_tile(int tokens, const Vector *left, int stride, const Vector *turned, int width, float *out, int columns) {
    Vector sums[K][C];
    UNROLL for (int k = 0; k < K; k++)
        UNROLL for (int c = 0; c < C; c++) sums[k][c] = load(out + k * columns + c * LANES);
    for (int row = 0; row < tokens * LANES; row++) {
        const float *scalars = (const float *)(left + row / LANES * stride) + row % LANES;
        UNROLL for (int k = 0; k < K; k++) {
            const Vector x = all(scalars[k * LANES]);
            UNROLL for (int c = 0; c < C; c++) sums[k][c] += x * turned[row * width + c];
        }
    }
    UNROLL for (int k = 0; k < K; k++)
        UNROLL for (int c = 0; c < C; c++) std::memcpy(out + k * columns + c * LANES, &sums[k][c], BYTES);
}

template <int C>
void add_strip(int tokens, const Vector *left, int stride, int inner, const Vector *turned, int width, float *out,
               int columns) {
    constexpr int K = LANES * 3 / 8;
    int k = 0;
    for (; k + K <= inner; k += K)
        add_tile<K, C>(tokens, left + k, stride, turned, width, out + k * columns, columns);
    for (; k < inner; k++) add_tile<1, C>(tokens, left + k, stride, turned, width, out + k * columns, columns);
}

// out [inner, columns] += left^T rows; `width` vectors are a turned row, which may have more columns.
void add_products(int tokens, const Vector *left, int stride, int inner, const Vector *turned, int width, int columns,
                  float *out) {
    long c = 0;
    for (; c + 4 <= columns / LANES; c += 4)
        add_strip<4>(tokens, left, stride, inner, turned + c, width, out + c * LANES, columns);
    for (; c < columns / LANES; c++)
        add_strip<1>(tokens, left, stride, inner, turned + c, width, out + c * LANES, columns);
}

void add_rows(int tokens, const Vector *turned, float *out) {
    for (int c = 0; c < DIM / LANES; c++) {
        Vector sum = load(out + c * LANES);
        for (int row = 0; row < tokens * LANES; row++) sum += turned[row * (DIM / LANES) + c];
        std::memcpy(out + c * LANES, &sum, BYTES);
    }
}

void transpose(const float *from, int rows, int columns, float *out, int stride) {
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) out[c * stride + r] = from[r * columns + c];
}

float total(Vector x) {
    float sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += x[lane];
    return sum;
}

Vector where_positive(Vector y, Vector x) { return y > 0 ? x : Vector{}; }

// From the gradient of the result, in `last`, to those of averages and of PMA's logits.
void last_backward(int tokens, const Transposed &t, const Space &s, BackwardSpace &g, const Gradients &d) {
    Vector mapped[DIM], hidden[DIM];
    for (int c = 0; c < DIM; c++) mapped[c] = where_positive(s.last_mapped[c], g.last[c]);
    turn(1, mapped, DIM, g.turned);
    add_products(1, s.last_hidden, DIM, DIM, g.turned, DIM / LANES, DIM, d.last);
    add_rows(1, g.turned, d.last_bias);
    apply({t.last, DIM, DIM}, 1, mapped, DIM, hidden, DIM);
    for (int c = 0; c < DIM; c++) hidden[c] += g.last[c];
    turn(1, hidden, DIM, g.turned);
    add_rows(1, g.turned, d.pooling_query);
    for (int h = 0; h < HEADS; h++) {
        const Vector *part = g.turned + h * (WIDTH / LANES);
        add_products(1, s.averages[h], DIM, DIM, part, DIM / LANES, WIDTH, d.pooling_values + h * DIM * WIDTH);
        apply({t.values[h], WIDTH, DIM}, 1, hidden + h * WIDTH, WIDTH, g.averages[h], DIM);
        Vector mean{};
        for (int i = 0; i < tokens; i++) {
            g.logits[i * HEADS + h] = dot(g.averages[h], s.pooled + i * DIM, DIM);
            mean += g.logits[i * HEADS + h] * s.pool_weights[i * HEADS + h];
        }
        for (int i = 0; i < tokens; i++)
            g.logits[i * HEADS + h] = (g.logits[i * HEADS + h] - mean) * s.pool_weights[i * HEADS + h];
    }
}

// To the gradients of what was added, and of the second block's tokens before their feed-forward layer, in `hidden`.
void pool_backward(int tokens, const Blocks &blocks, const Transposed &t, const Space &s, BackwardSpace &g,
                   const Gradients &d) {
    turn(tokens, s.pooled, DIM, g.turned);
    add_products(tokens, g.logits, HEADS, HEADS, g.turned, DIM / LANES, DIM, g.keys);
    Vector shifts[DIM] = {};
    for (int i = 0; i < tokens; i++)
        for (int c = 0; c < DIM; c++) {
            Vector sum{};
            for (int h = 0; h < HEADS; h++)
                sum += s.pool_weights[i * HEADS + h] * g.averages[h][c] +
                       g.logits[i * HEADS + h] * blocks.pooling_keys[c * HEADS + h];
            shifts[c] += g.inside[i * DIM + c] = where_positive(s.pooled[i * DIM + c], sum);
        }
    apply({t.pooling, DIM, DIM}, 1, shifts, DIM, g.added, DIM);
    turn(1, shifts, DIM, g.turned);
    add_products(1, s.added, DIM, DIM, g.turned, DIM / LANES, DIM, d.pooling);
    turn(tokens, g.inside, DIM, g.turned);
    add_products(tokens, s.second, DIM, DIM, g.turned, DIM / LANES, DIM, d.pooling);
    add_rows(tokens, g.turned, d.pooling_bias);

    apply({t.pooling, DIM, DIM}, tokens, g.inside, DIM, g.hidden, DIM);
    for (int i = 0; i < tokens * DIM; i++) g.inside[i] = where_positive(s.mapped[i], g.hidden[i]);
    turn(tokens, g.inside, DIM, g.turned);
    add_products(tokens, s.hidden, DIM, DIM, g.turned, DIM / LANES, DIM, d.feedforward);
    add_rows(tokens, g.turned, d.feedforward_bias);
    apply({t.feedforward, DIM, DIM}, tokens, g.inside, DIM, g.part, DIM);
    for (int i = 0; i < tokens * DIM; i++) g.hidden[i] += g.part[i];
}

// To the gradients of queries, keys and values, in `projected`.
void attention_backward(int tokens, const Space &s, BackwardSpace &g) {
    Vector logits[TOKENS * TOKENS];
    for (int h = 0; h < HEADS; h++) {
        const Vector *hidden = g.hidden + h * WIDTH;
        for (int i = 0; i < tokens; i++) {
            const Vector *weights = s.weights[h] + i * tokens;
            Vector *row = logits + i * tokens, *out = g.projected + i * 3 * DIM + h * WIDTH, mean{};
            for (int j = 0; j < tokens; j++) {
                row[j] = dot(hidden + i * DIM, s.values[h] + j * WIDTH, WIDTH);
                mean += row[j] * weights[j];
            }
            for (int j = 0; j < tokens; j++) row[j] = (row[j] - mean) * weights[j];
            average(tokens, row, 1, s.keys[h], WIDTH, WIDTH, out);
            for (int c = 0; c < WIDTH; c++) out[c] += hidden[i * DIM + c];
        }
        for (int j = 0; j < tokens; j++) {
            Vector *out = g.projected + j * 3 * DIM + h * WIDTH;
            average(tokens, logits + j, tokens, s.queries[h], WIDTH, WIDTH, out + DIM);
            average(tokens, s.weights[h] + j, tokens, hidden, DIM, WIDTH, out + 2 * DIM);
        }
    }
}

void first_backward(int tokens, const Transposed &t, const Space &s, BackwardSpace &g, const Gradients &d) {
    turn(tokens, g.projected, 3 * DIM, g.turned);
    add_products(tokens, s.features, FEATURES, FEATURES, g.turned, 3 * DIM / LANES, 3 * DIM, g.projections);
    apply({t.projections, 3 * DIM, FEATURES}, tokens, g.projected, 3 * DIM, g.features, FEATURES);
    for (int i = 0; i < tokens; i++)
        for (int c = 0; c < DIM; c++)
            g.inside[i * DIM + c] = where_positive(s.features[i * FEATURES + c], g.features[i * FEATURES + c]);
    turn(tokens, g.inside, DIM, g.turned);
    add_products(tokens, s.features + DIM, FEATURES, NUMBERS, g.turned, DIM / LANES, DIM, d.inner);
    apply({t.inner, DIM, NUMBERS}, tokens, g.inside, DIM, g.numbers, NUMBERS);
    for (int i = 0; i < tokens; i++)
        for (int h = 0; h < HEADS; h++) {
            const Vector mean = g.numbers[i * NUMBERS + 1 + h] + g.features[i * FEATURES + DIM + 1 + h];
            g.slopes[h] += mean * s.variances[i * HEADS + h] * s.x[i];
            g.offsets[h] += mean * s.variances[i * HEADS + h];
        }
}

void transpose_all(const Blocks &blocks, Transposed &t) {
    transpose(blocks.inner, NUMBERS, DIM, t.inner, NUMBERS);
    for (int map = 0; map < 3 * HEADS; map++)
        transpose(blocks.projections + map * FEATURES * WIDTH, FEATURES, WIDTH, t.projections + map * WIDTH * FEATURES,
                  FEATURES);
    transpose(blocks.feedforward, DIM, DIM, t.feedforward, DIM);
    transpose(blocks.pooling, DIM, DIM, t.pooling, DIM);
    for (int h = 0; h < HEADS; h++) transpose(blocks.pooling_values + h * DIM * WIDTH, DIM, WIDTH, t.values[h], DIM);
    transpose(blocks.last, DIM, DIM, t.last, DIM);
}

void add_transposed(const BackwardSpace &g, const Gradients &d) {
    for (int h = 0; h < HEADS; h++) {
        d.slopes[h] += total(g.slopes[h]);
        d.offsets[h] += total(g.offsets[h]);
        for (int c = 0; c < DIM; c++) d.pooling_keys[c * HEADS + h] += g.keys[h * DIM + c];
    }
    for (int map = 0; map < 3 * HEADS; map++)
        for (int k = 0; k < FEATURES; k++)
            for (int c = 0; c < WIDTH; c++)
                d.projections[(map * FEATURES + k) * WIDTH + c] += g.projections[k * 3 * DIM + map * WIDTH + c];
}

thread_local BackwardSpace backward_space;
thread_local Transposed transposed;

}  // namespace

// Writes the gradient of what is added, and adds the gradients of the parameters to `gradients`.
extern "C" void backward(int64_t sets, int tokens, const float *x, const float *added, const Blocks *blocks,
                         const float *grad, float *grad_added, const Gradients *gradients) {
    BackwardSpace &g = backward_space;
    transpose_all(*blocks, transposed);
    std::memset(g.slopes, 0, sizeof g.slopes);
    std::memset(g.offsets, 0, sizeof g.offsets);
    std::memset(g.projections, 0, sizeof g.projections);
    std::memset(g.keys, 0, sizeof g.keys);
    for (int64_t first = 0; first < sets; first += LANES) {
        const int used = forward(first, sets, tokens, x, added, *blocks, space);
        gather(used, grad + first * DIM, DIM, g.last);
        last_backward(tokens, transposed, space, g, *gradients);
        pool_backward(tokens, *blocks, transposed, space, g, *gradients);
        attention_backward(tokens, space, g);
        first_backward(tokens, transposed, space, g, *gradients);
        scatter(used, g.added, DIM, grad_added + first * DIM);
    }
    add_transposed(g, *gradients);
}
