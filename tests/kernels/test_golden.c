/* Every op against values that PyTorch computed in double: see golden.h. `test_golden --list` names
 * the cases for tests/kernels/make_goldens.py. */
#include "tests/kernels/cases.h"
#include "tests/kernels/golden.h"

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

static void case_check(const test_suite *s, const test_case *c, FILE *file)
{
    run r;
    run_options options = {.isa = rvx__isa_detect(), .threads = 2};
    if (!run_make(&r, s, c, options)) {
        tap_ok(0, "%s/%s has shapes", s->op->name, c->name);
        return;
    }
    run_all(&r);
    golden_check(&r, file);
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
