/* Products of four warps on a CPU: see emulate_hopper.h. Owns: products that are under way, and the
 * numbers of their sums meanwhile. */
#include "kernels/cuda/emulate_schedule.h"
#include "kernels/cuda/emulate_sum.h"

/* Vectors where the processor has them; the same numbers everywhere. */
#define VECTORISED __attribute__((target_clones("avx2", "default"), optimize("O3")))

namespace simt
{
enum { GROUP_WARPS = 4, COLUMNS_MAX = 256 };
enum HopperCollective : int { PRODUCTS_BEGIN = 64, PRODUCTS_COMMIT, PRODUCTS_WAIT, PRODUCT };

/* The numbers of one d of a warp: `at` where each lane has it. */
struct Sums {
    float *at[32];
    int columns;
    int under_way; /* products */
    bool begun_with;
    std::vector<float> sum;   /* [16][columns], while products are under way */
    std::vector<float> begun; /* [32][columns / 2], as products_begin found it */
};

struct ProductUnderWay {
    uint64_t a, b;
    size_t sums;
    std::vector<unsigned char> read; /* a's 16 rows, then b's, 32 bytes each */
};

struct WarpProducts {
    std::vector<Sums> sums;
    std::vector<ProductUnderWay> products;
    std::vector<size_t> groups; /* ends of committed ones, in `products` */
    bool begun;
    uint64_t issued, digest; /* of all products: the four warps of a group issue the same */
    /* What lanes bring to the collective they stand at. */
    float *lane_d[32];
    uint64_t lane_a[32], lane_b[32];
    int lane_columns[32];
    size_t left;
};

static WarpProducts products[WARPS_MAX];

void products_block_begin()
{
    for (WarpProducts &w : products)
        w = {};
}

void products_thread_end()
{
    if (!products[warp_index()].products.empty())
        fail("a thread ends with products that it never waited for");
}

void products_block_end()
{
    for (int w = 0; w < WARPS_MAX; w++) {
        const WarpProducts &first = products[w / GROUP_WARPS * GROUP_WARPS];
        if (products[w].issued != first.issued || products[w].digest != first.digest)
            fail("four warps of a group issued different products");
    }
}

/* `rows` rows of 32 bytes from row `first` on. */
static void read_operand(unsigned char *to, uint64_t descriptor, int first, int rows)
{
    const uint32_t start = (uint32_t)(descriptor & 0x3FFF) << 4,
                   across = (uint32_t)(descriptor >> 16 & 0x3FFF) << 4,
                   down = (uint32_t)(descriptor >> 32 & 0x3FFF) << 4;
    const Swizzle swizzle = (Swizzle)(descriptor >> 62);
    static const uint32_t row_bytes[4] = {16, 128, 64, 32};
    if (descriptor & ~(0x3FFFull | 0x3FFFull << 16 | 0x3FFFull << 32 | 3ull << 62))
        fail("a product's operand is described with bits that have no meaning here");
    for (int row = first; row < first + rows; row++)
        for (int half = 0; half < 2; half++) {
            uint32_t at = start + (uint32_t)(row / 8) * down +
                          (uint32_t)(row % 8) * row_bytes[swizzle] +
                          (uint32_t)half * (swizzle == SWIZZLE_NONE ? across : (uint32_t)CHUNK);
            read_visible(to + (row - first) * 32 + half * CHUNK, swizzled(at, swizzle));
        }
}

/* The element of [row][column] within a lane's d, and whose it is. */
static float *element(const Sums &s, int row, int column)
{
    return s.at[row % 8 * 4 + column % 8 / 2] + column / 8 * 4 + row / 8 * 2 + column % 2;
}

static void work_begin(Warp &)
{
    WarpProducts &w = products[warp_index()];
    w.begun = true;
    for (Sums &s : w.sums) {
        s.begun_with = s.under_way == 0;
        const size_t count = (size_t)s.columns / 2;
        s.begun.resize(32 * count);
        for (size_t lane = 0; lane < 32 && s.begun_with; lane++)
            memcpy(&s.begun[lane * count], s.at[lane], count * sizeof(float));
    }
}

static size_t find_sums(WarpProducts &w)
{
    for (size_t i = 0; i < w.sums.size(); i++)
        if (memcmp(w.sums[i].at, w.lane_d, sizeof w.lane_d) == 0 &&
            w.sums[i].columns == w.lane_columns[0])
            return i;
    Sums s = {};
    memcpy(s.at, w.lane_d, sizeof w.lane_d);
    s.columns = w.lane_columns[0];
    w.sums.push_back(s);
    return w.sums.size() - 1;
}

/* All bits set: what a product leaves in d until it is waited for. */
static bool poisoned(const Sums &s)
{
    static const std::vector<unsigned char> poison(COLUMNS_MAX / 2 * sizeof(float), 0xFF);
    for (const float *d : s.at)
        if (memcmp(d, poison.data(), (size_t)s.columns / 2 * sizeof(float)) != 0)
            return false;
    return true;
}

/* d becomes NaN, its numbers are kept aside. */
static void take_sums(Sums &s)
{
    const size_t count = (size_t)s.columns / 2;
    for (size_t lane = 0; lane < 32 && s.begun_with; lane++)
        if (memcmp(&s.begun[lane * count], s.at[lane], count * sizeof(float)) != 0)
            fail("sums were changed between products_begin and a product");
    s.sum.resize(16 * (size_t)s.columns);
    for (int row = 0; row < 16; row++)
        for (int column = 0; column < s.columns; column++)
            s.sum[(size_t)(row * s.columns + column)] = *element(s, row, column);
    for (size_t lane = 0; lane < 32; lane++)
        memset(s.at[lane], 0xFF, count * sizeof(float));
}

static void work_product(Warp &)
{
    WarpProducts &w = products[warp_index()];
    for (int lane = 1; lane < 32; lane++)
        if (w.lane_a[lane] != w.lane_a[0] || w.lane_b[lane] != w.lane_b[0])
            fail("lanes of one warp describe different operands");
    if (!w.begun)
        fail("a product without products_begin");
    ProductUnderWay p = {w.lane_a[0], w.lane_b[0], find_sums(w), {}};
    Sums &s = w.sums[p.sums];
    p.read.resize((size_t)(16 + s.columns) * 32);
    read_operand(p.read.data(), p.a, warp_index() % GROUP_WARPS * 16, 16);
    read_operand(p.read.data() + 16 * 32, p.b, 0, s.columns);
    if (s.under_way == 0)
        take_sums(s);
    else if (!poisoned(s))
        fail("sums were touched while products were under way");
    s.under_way++;
    w.issued++;
    w.digest = (w.digest ^ p.a ^ p.b << 1) * 0x9E3779B97F4A7C15u;
    w.products.push_back(p);
}

static void work_commit(Warp &)
{
    WarpProducts &w = products[warp_index()];
    w.groups.push_back(w.products.size());
}

VECTORISED static void multiply(float *sum, const unsigned char *read, int columns)
{
    float a[16];
    RightOperand<16, COLUMNS_MAX> b;
    uint16_t halves[16];
    for (int column = 0; column < columns; column++) {
        memcpy(halves, read + (16 + column) * 32, sizeof halves);
        for (int k = 0; k < 16; k++)
            b.set(k, column, as_float((uint32_t)halves[k] << 16));
    }
    for (int row = 0; row < 16; row++) {
        memcpy(halves, read + row * 32, sizeof halves);
        for (int k = 0; k < 16; k++)
            a[k] = as_float((uint32_t)halves[k] << 16);
        add_products(sum + row * columns, a, b, columns, sum_rule(true));
    }
}

static void finish_product(WarpProducts &w, const ProductUnderWay &p)
{
    Sums &s = w.sums[p.sums];
    std::vector<unsigned char> again(p.read.size());
    read_operand(again.data(), p.a, warp_index() % GROUP_WARPS * 16, 16);
    read_operand(again.data() + 16 * 32, p.b, 0, s.columns);
    if (memcmp(again.data(), p.read.data(), again.size()) != 0)
        fail("shared memory changed under a product");
    multiply(s.sum.data(), p.read.data(), s.columns);
    if (--s.under_way > 0)
        return;
    if (!poisoned(s))
        fail("sums were touched while products were under way");
    for (int row = 0; row < 16; row++)
        for (int column = 0; column < s.columns; column++)
            *element(s, row, column) = s.sum[(size_t)(row * s.columns + column)];
}

static void work_wait(Warp &)
{
    WarpProducts &w = products[warp_index()];
    if (w.groups.size() <= w.left)
        return;
    const size_t done = w.groups.size() - w.left, end = w.groups[done - 1];
    /* All of one d at once: it stays NaN until the last of them. */
    for (size_t i = 0; i < end; i++)
        finish_product(w, w.products[i]);
    w.products.erase(w.products.begin(), w.products.begin() + (ptrdiff_t)end);
    w.groups.erase(w.groups.begin(), w.groups.begin() + (ptrdiff_t)done);
    for (size_t &group : w.groups)
        group -= end;
    w.begun = false;
}

int uniform(int v, int line)
{
    Warp &w = warp();
    w.value[self().lane] = (uint64_t)v;
    collective(SHUFFLE, work_shuffle, line);
    if (w.shuffled[0] != (uint64_t)v)
        fail("lanes bring different numbers where all should be alike");
    return v;
}

void products_begin(int line)
{
    use_hopper();
    collective((Collective)PRODUCTS_BEGIN, work_begin, line);
}
void products_commit(int line) { collective((Collective)PRODUCTS_COMMIT, work_commit, line); }

void products_wait_until(size_t left, int line)
{
    step_aside(); /* what products read may change meanwhile */
    products[warp_index()].left = left;
    collective((Collective)PRODUCTS_WAIT, work_wait, line);
}

void multiply_columns(float *d, int columns, uint64_t a, uint64_t b, int line)
{
    const int lane = self().lane;
    WarpProducts &w = products[warp_index()];
    w.lane_d[lane] = d;
    w.lane_a[lane] = a;
    w.lane_b[lane] = b;
    w.lane_columns[lane] = columns;
    collective((Collective)PRODUCT, work_product, line);
}
} // namespace simt
