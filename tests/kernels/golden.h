/* Values that PyTorch computed in double: tests/kernels/goldens/<op>.bin, written by
 * tests/kernels/make_goldens.py. Owns: the reader and the comparison.
 *
 * A file is "RVXGOLD1" and then records until its end, little-endian:
 *     char name[64]     "case/out0" or "case/grad0", zero-padded
 *     int64 step, count
 *     float32[count]    elements 0, step, 2 step, ... of the dense tensor */
#ifndef RVX_TEST_GOLDEN_H
#define RVX_TEST_GOLDEN_H

#include "tests/kernels/harness.h"

typedef struct golden_record {
    char name[64];
    int64_t step, count;
} golden_record;

TEST_FUNCTION FILE *golden_open(const char *op)
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
TEST_FUNCTION double *golden_find(golden_record *found, FILE *file, const char *name)
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

TEST_FUNCTION void golden_tensor_check(const run *r, FILE *file, const rvx_tensor *got,
                                       const char *kind, int index, test_scale scale,
                                       double allowed)
{
    char name[64];
    golden_record found;
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

/* Outputs and gradients of a run. */
TEST_FUNCTION void golden_check(const run *r, FILE *file)
{
    const test_suite *s = r->suite;
    for (int i = 0; i < s->op->out_count; i++)
        golden_tensor_check(r, file, &r->out[i].tensor, "out", i, s->scale_out[i],
                            run_tolerance(r, false, i));
    for (int i = 0; i < RVX_IN_MAX; i++)
        if (r->grad_in[i].base)
            golden_tensor_check(r, file, &r->grad_in[i].tensor, "grad", i, SCALE_TENSOR,
                                run_tolerance(r, true, i));
}

#endif
