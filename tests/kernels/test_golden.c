/* Every op against values that PyTorch computed in double: tests/kernels/goldens/<op>.bin, written
 * by tests/kernels/make_goldens.py, which gets the cases from `test_golden --list`.
 *
 * A file is "RVXGOLD1" and then records until its end, little-endian:
 *     char name[64]     "case/out0" or "case/grad0", zero-padded
 *     int64 step, count
 *     float32[count]    elements 0, step, 2 step, ... of the dense tensor */
#include "tests/kernels/cases.h"

typedef struct record {
    char name[64];
    int64_t step, count;
} record;

static void triple_print(const char *name, const int32_t *v)
{
    printf("\"%s\": [%d, %d, %d], ", name, v[0], v[1], v[2]);
}

static void shapes_print(const char *name, const rvx_shape *s, int count)
{
    printf("\"%s\": [", name);
    for (int i = 0; i < count; i++)
        printf("%s[%lld, %lld, %lld, %lld, %lld]", i ? ", " : "", (long long)s[i].n,
               (long long)s[i].d, (long long)s[i].h, (long long)s[i].w, (long long)s[i].c);
    printf("], ");
}

/* One JSON object a line. */
static int list_print(void)
{
    for (int i = 0; i < CASE_COUNT(suites); i++)
        for (int j = 0; j < suites[i]->case_count; j++) {
            const test_suite *s = suites[i];
            const test_case *c = &s->cases[j];
            const rvx_op_params *p = &c->params;
            rvx_shape out[RVX_OUT_MAX];
            if (case_shapes(out, s, c) != RVX_OK)
                return 1;
            printf("{\"op\": \"%s\", \"case\": \"%s\", ", s->op->name, c->name);
            shapes_print("in", c->in, case_inputs(c));
            shapes_print("out", out, s->op->out_count);
            triple_print("kernel", p->kernel);
            triple_print("stride", p->stride);
            triple_print("pad", p->pad);
            printf("\"groups\": %d, \"epsilon\": %.9g, \"slope\": %.9g, \"ignore_label\": %d, ",
                   p->groups, (double)p->epsilon, (double)p->slope, p->ignore_label);
            printf("\"include_background\": %d, \"weight\": %.9g, \"smooth\": %.9g, ",
                   p->include_background, (double)p->weight, (double)p->smooth);
            printf("\"order\": %d, \"orthonormal\": %d, \"exponential\": %d, \"rate\": %.9g, "
                   "\"layer\": %d, \"batch_statistics\": %d, \"channel_count\": "
                   "%d, \"offset\": %.9g, "
                   "\"scale\": %.9g, "
                   "\"levels\": %d, "
                   "\"labels\": %d}\n",
                   p->order, p->orthonormal, p->exponential, (double)p->rate, p->layer,
                   p->batch_statistics, p->channel_count, (double)c->offset,
                   (double)(c->scale > 0 ? c->scale : 1), c->levels, c->labels);
        }
    return 0;
}

static FILE *golden_open(const char *op)
{
    char path[256], magic[8];
    snprintf(path, sizeof path, "tests/kernels/goldens/%s.bin", op);
    FILE *file = fopen(path, "rb");
    if (file && (fread(magic, 1, 8, file) != 8 || memcmp(magic, "RVXGOLD1", 8) != 0)) {
        fclose(file);
        return NULL;
    }
    return file;
}

/* Values of the record of that name, as doubles; NULL where the file has none. */
static double *golden_find(record *found, FILE *file, const char *name)
{
    fseek(file, 8, SEEK_SET);
    while (fread(found->name, 1, 64, file) == 64 && fread(&found->step, 8, 2, file) == 2) {
        if (strncmp(found->name, name, 64) != 0) {
            fseek(file, found->count * (long)sizeof(float), SEEK_CUR);
            continue;
        }
        double *values = malloc((size_t)found->count * sizeof *values);
        float one;
        for (int64_t i = 0; values && i < found->count; i++) {
            if (fread(&one, sizeof one, 1, file) != 1) {
                free(values);
                return NULL;
            }
            values[i] = (double)one;
        }
        return values;
    }
    return NULL;
}

static void tensor_check(const run *r, FILE *file, const rvx_tensor *got, const char *kind,
                         int index, test_scale scale, double allowed)
{
    char name[64];
    record found;
    snprintf(name, sizeof name, "%s/%s%d", r->c->name, kind, index);
    double *want = golden_find(&found, file, name);
    int64_t count = rvx__shape_count(got->shape);
    if (!want || found.step < 1 || found.count != (count + found.step - 1) / found.step) {
        tap_ok(0, "%s/%s has a golden record of its shape", r->suite->op->name, name);
    } else {
        double worst = misfit_sampled(got, want, found.step, scale, allowed);
        tap_ok(worst <= 1, "%s/%s equals PyTorch (%.2f tolerances)", r->suite->op->name, name,
               worst);
    }
    free(want);
}

static void case_check(const test_suite *s, const test_case *c, FILE *file)
{
    run r;
    run_options options = {.isa = rvx__isa_detect(), .threads = 2};
    if (!run_make(&r, s, c, options)) {
        tap_ok(0, "%s/%s has shapes", s->op->name, c->name);
        return;
    }
    run_all(&r);
    for (int i = 0; i < s->op->out_count; i++)
        tensor_check(&r, file, &r.out[i].tensor, "out", i, s->scale_out[i],
                     run_tolerance(&r, false, i));
    for (int i = 0; i < RVX_IN_MAX; i++)
        if (r.grad_in[i].base)
            tensor_check(&r, file, &r.grad_in[i].tensor, "grad", i, SCALE_TENSOR,
                         run_tolerance(&r, true, i));
    run_free(&r);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--list") == 0)
        return list_print();
    for (int i = 0; i < CASE_COUNT(suites); i++) {
        FILE *file = golden_open(suites[i]->op->name);
        if (!tap_ok(file != NULL, "%s has golden values", suites[i]->op->name))
            continue;
        for (int j = 0; j < suites[i]->case_count; j++)
            case_check(suites[i], &suites[i]->cases[j], file);
        fclose(file);
    }
    return tap_done();
}
