/* Evaluation over the folds of a cross-validation, and as CSV: see evaluate.h. */
#include "engine/base/file.h"
#include "engine/base/text.h"
#include "engine/segment/evaluate.h"
#include "engine/volume/volume.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool same_classes(const rvx_class_list *a, const rvx_class_list *b)
{
    bool same = a->count == b->count;
    for (int64_t k = 0; k < a->count && same; k++)
        same = strcmp(a->classes[k].name, b->classes[k].name) == 0 &&
               memcmp(a->classes[k].member, b->classes[k].member, 256) == 0;
    return same;
}

rvx_status rvx__evaluation_take(rvx_evaluation *to, rvx_evaluation *from, int64_t fold,
                                rvx_error *error)
{
    if (to->list.count == 0) {
        to->list = from->list;
        to->tolerance_mm = from->tolerance_mm;
        from->list = (rvx_class_list){0};
    } else if (!same_classes(&to->list, &from->list)) {
        return rvx__fail(error, RVX_ERROR_FORMAT, "fold %lld: its classes are not those of fold 1",
                         (long long)fold);
    } else if (to->tolerance_mm != from->tolerance_mm) {
        return rvx__fail(error, RVX_ERROR_FORMAT, "fold %lld: tolerance_mm is %g, in fold 1 %g",
                         (long long)fold, from->tolerance_mm, to->tolerance_mm);
    }
    int64_t count = to->case_count + from->case_count;
    rvx_evaluation_case *cases = realloc(to->cases, ((size_t)count + 1) * sizeof *cases);
    if (!cases)
        return rvx__fail(error, RVX_ERROR_MEMORY, "evaluation: no memory for its cases");
    to->cases = cases;
    for (int64_t i = 0; i < from->case_count; i++) {
        cases[to->case_count] = from->cases[i];
        cases[to->case_count++].fold = fold;
    }
    from->case_count = 0;
    return RVX_OK;
}

rvx_evaluation rvx__evaluation_fold(const rvx_evaluation *evaluation, int64_t fold)
{
    rvx_evaluation view = *evaluation;
    int64_t first = 0, end;
    while (first < evaluation->case_count && evaluation->cases[first].fold != fold)
        first++;
    for (end = first; end < evaluation->case_count && evaluation->cases[end].fold == fold;)
        end++;
    view.cases = evaluation->cases + first;
    view.case_count = end - first;
    return view;
}

/* Every reference in one fold, no more and no less. */
static rvx_status references_check(const rvx_evaluation *evaluation, const char *folder,
                                   const char *references, rvx_error *error)
{
    rvx_names names = {0};
    rvx_status status = rvx__directory_list(&names, references, NULL, error);
    for (int64_t i = 0; i < names.count && status == RVX_OK; i++) {
        int64_t bytes = rvx__volume_stem_bytes(names.names[i]), found = 0;
        for (int64_t c = 0; c < evaluation->case_count && bytes > 0; c++)
            found += (int64_t)strlen(evaluation->cases[c].name) == bytes &&
                     strncmp(evaluation->cases[c].name, names.names[i], (size_t)bytes) == 0;
        if (bytes > 0 && found != 1)
            status = rvx__fail(error, RVX_ERROR_ARGUMENT,
                               "%s: %lld folds have segmented %s; expected one", folder,
                               (long long)found, names.names[i]);
    }
    rvx__names_free(&names);
    return status;
}

rvx_status rvx__evaluate_folds(rvx_evaluation *evaluation, const char *folder, int64_t folds,
                               const char *references, const rvx_evaluate_params *params,
                               rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_evaluate_params some = *params;
    rvx_evaluation one = {0};
    some.allow_missing = true;
    *evaluation = (rvx_evaluation){0};
    for (int64_t fold = 1; fold <= folds; fold++) {
        char name[64], path[RVX_PATH_BYTES];
        snprintf(name, sizeof name, "fold_%lld/validation", (long long)fold);
        RVX_TRY(rvx__path_join(path, folder, name, error));
        RVX_TRY(rvx__evaluate(&one, path, references, &some, error));
        RVX_TRY(rvx__evaluation_take(evaluation, &one, fold, error));
        rvx__evaluation_free(&one);
    }
    status = references_check(evaluation, folder, references, error);
cleanup:
    rvx__evaluation_free(&one);
    return status;
}

/* ---- CSV --------------------------------------------------------------------------------------
 */

/* Quoted as RFC 4180 says where need be. */
static void csv_text(rvx_text *out, const char *text)
{
    bool quoted = strpbrk(text, ",\"\r\n") != NULL;
    if (quoted)
        rvx__text_add(out, "\"");
    for (const char *c = text; *c; c++) {
        if (*c == '"')
            rvx__text_add(out, "\"");
        rvx__text_append(out, c, 1);
    }
    if (quoted)
        rvx__text_add(out, "\"");
}

static void csv_row(rvx_text *out, const rvx_evaluation_case *c, const rvx_label_class *label_class,
                    rvx_class_metrics *m)
{
    csv_text(out, c->name);
    rvx__text_format(out, ",%lld,%d,", (long long)c->fold, (int)label_class->label);
    csv_text(out, label_class->name);
    for (int field = 0; field < RVX_METRICS_FIELD_COUNT; field++) {
        double value = *rvx__metrics_value(m, field);
        rvx__text_add(out, ",");
        if (isfinite(value))
            rvx__text_number(out, value);
    }
    rvx__text_format(out, ",%lld,%lld,%lld\n", (long long)m->true_positive,
                     (long long)m->false_positive, (long long)m->false_negative);
}

rvx_status rvx__evaluation_csv(const rvx_evaluation *evaluation, const char *path, rvx_error *error)
{
    rvx_text text = {0};
    rvx__text_add(&text, "case,fold,label,class");
    for (int field = 0; field < RVX_METRICS_FIELD_COUNT; field++)
        rvx__text_format(&text, ",%s", rvx__metrics_fields[field].name);
    rvx__text_add(&text, ",true_positive,false_positive,false_negative\n");
    for (int64_t i = 0; i < evaluation->case_count; i++)
        for (int64_t k = 0; k < evaluation->list.count; k++)
            csv_row(&text, &evaluation->cases[i], &evaluation->list.classes[k],
                    &evaluation->cases[i].metrics[k]);
    rvx_status status = rvx__text_check(&text, error);
    if (status == RVX_OK)
        status = rvx__file_write(path, text.data, text.bytes, error);
    rvx__text_free(&text);
    return status;
}
